"""From the name in a recipe to a tf.distribute.Strategy."""

import functools

import tensorflow as tf

from trainers.errors import UserError
from trainers.settings import did_you_mean

NAMES = ("one_device", "mirrored")


def make_strategy(name, cpu_replicas=1):
    """Builds a strategy; call before anything else touches TensorFlow's devices.

    Args:
      name: "one_device", or "mirrored" for a replica on every GPU, or, where there is none,
        on every logical CPU.
      cpu_replicas: into how many logical devices the CPU is split.

    Raises:
      UserError: unknown name, or TensorFlow has been started with other devices.
    """
    if name not in NAMES:
        hint = did_you_mean(str(name), NAMES) or f"; choose {' or '.join(NAMES)}"
        raise UserError(f"STRATEGY = {name!r}: there is no such strategy{hint}")
    if cpu_replicas < 1:
        raise UserError(f"CPU_REPLICAS = {cpu_replicas}: must be at least 1")
    if cpu_replicas > 1:
        split_cpu(cpu_replicas)
    if name == "one_device":
        return tf.distribute.get_strategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return mirrored(*[device.name for device in devices])


@functools.cache
def mirrored(*devices):
    # One for all runs of a process: the collectives of a second over the same devices would
    # be taken for the first one's, and fail where their shapes differ.
    return tf.distribute.MirroredStrategy(devices)


def split_cpu(parts):
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(parts)]
        )
    except RuntimeError as error:
        found = len(tf.config.list_logical_devices("CPU"))
        if found != parts:
            raise UserError(
                f"CPU_REPLICAS = {parts}: TensorFlow has been started with {found}; "
                "set it in a new process"
            ) from error
