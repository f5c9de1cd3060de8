"""What Linux says of memory, read from files as it writes them."""

import types

import tensorflow as tf

from trainers import machine

MEMINFO = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    8000 kB\n"


def write(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_what_is_available_is_what_could_be_freed_as_well(tmp_path):
    write(tmp_path, proc__meminfo=MEMINFO)
    assert machine.available(tmp_path) == 8000 * 1024


def test_elsewhere_than_on_linux_nothing_is_known(tmp_path):
    assert machine.available(tmp_path) is None
    assert list(machine.left_in_groups(tmp_path)) == []


def group(root, path, limit, used, cached):
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")


def test_limits_of_a_container_and_of_those_around_it_bind(tmp_path):
    write(tmp_path, proc__self__cgroup="0::/pod/box\n")
    group(tmp_path, "sys/fs/cgroup/pod/box", 1000, 700, 200)
    group(tmp_path, "sys/fs/cgroup/pod", 2000, 1900, 100)
    assert list(machine.left_in_groups(tmp_path)) == [500, 200, None]


def test_a_group_without_a_limit_binds_nothing(tmp_path):
    write(tmp_path, proc__self__cgroup="0::/\n")
    group(tmp_path, "sys/fs/cgroup", "max", 700, 200)
    assert list(machine.left_in_groups(tmp_path)) == [None]


def test_the_first_version_of_groups_is_read_too(tmp_path):
    write(tmp_path, proc__self__cgroup="5:cpu,cpuacct:/box\n3:memory:/box\n")
    folder = tmp_path / "sys/fs/cgroup/memory/box"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("1000\n")
    (folder / "memory.usage_in_bytes").write_text("900\n")
    (folder / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 300\n")
    assert list(machine.left_in_groups(tmp_path)) == [400, None]


def test_the_smallest_gpu_counts_where_there_are_any(monkeypatch):
    devices = [
        types.SimpleNamespace(device_type=kind, memory_limit=limit)
        for kind, limit in (("CPU", 1), ("GPU", 80), ("GPU", 40))
    ]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [0] * (kind == "GPU"))
    monkeypatch.setattr(machine.device_lib, "list_local_devices", lambda: devices)
    there = machine.memory()
    assert (there.bytes, there.shared) == (40, False)
    assert there.total(held=10) == 40


def test_here_some_memory_is_left_and_weights_that_are_held_count_to_it():
    there = machine.memory()
    assert there.bytes > 2**20
    assert there.total(held=10) in (there.bytes + 10, there.bytes)
