"""How much memory there is: of a GPU, or of the machine and the container around this process."""

import dataclasses
import os

import tensorflow as tf
from tensorflow.python.client import device_lib

# Version 1 of Linux' control groups says "no limit" by a number about as large as this.
UNLIMITED = 2**60


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory that a run may take.

    Attributes:
      bytes: what is left of it, or where it is not shared, all of it.
      name: of the place, for messages.
      shared: whether all replicas of a process take of it.
    """

    bytes: int
    name: str
    shared: bool

    def total(self, held):
        """What a run has, when its process has `held` bytes of this already."""
        return self.bytes + held if self.shared else self.bytes


def memory():
    """The Memory of the smallest GPU, or where there is none that of the machine; None if not known."""
    if tf.config.list_physical_devices("TPU"):
        return None
    if tf.config.list_physical_devices("GPU"):
        devices = device_lib.list_local_devices()
        limits = [device.memory_limit for device in devices if device.device_type == "GPU"]
        return Memory(min(limits), "on a GPU", shared=False)
    left = [part for part in (available(), *left_in_groups()) if part is not None]
    return Memory(min(left), "left on this machine", shared=True) if left else None


def available(root="/"):
    """Bytes that Linux can still give without swapping; None where it is another system."""
    try:
        with open(os.path.join(root, "proc/meminfo"), encoding="utf-8") as file:
            fields = dict(line.split(":") for line in file)
    except OSError:
        return None
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def left_in_groups(root="/"):
    """Bytes left in each control group with a limit that this process is in, as containers have."""
    try:
        with open(os.path.join(root, "proc/self/cgroup"), encoding="utf-8") as file:
            groups = [line.strip().split(":", 2) for line in file]
    except OSError:
        return
    for _, controllers, path in groups:
        if not controllers:
            files = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            files = (
                "sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
        else:
            continue
        # In a container its own group may stand at the top; a limit of a parent binds as well.
        while True:
            yield left_in_group(os.path.join(root, files[0], path.strip("/")), *files[1:])
            if path in ("", "/"):
                break
            path = os.path.dirname(path)


def left_in_group(folder, limit, usage, reclaimable):
    """Bytes left in a group, its cache of files counted as free; None where it has no limit."""
    try:
        with open(os.path.join(folder, limit), encoding="utf-8") as file:
            most = file.read().strip()
        with open(os.path.join(folder, usage), encoding="utf-8") as file:
            used = int(file.read())
        with open(os.path.join(folder, "memory.stat"), encoding="utf-8") as file:
            cached = dict(line.split() for line in file).get(reclaimable, 0)
    except OSError:
        return None
    if most == "max" or int(most) > UNLIMITED:
        return None
    return int(most) - used + int(cached)
