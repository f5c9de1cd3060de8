import hashlib
import os
import time

import pytest

from trainers import disk


@pytest.fixture
def settled(monkeypatch):
    """Contents of the files that were settled, in a list."""
    found, settle = [], disk.settled

    def noted(file):
        found.append(os.pread(file.fileno(), 100, 0))
        return settle(file)

    monkeypatch.setattr(disk, "settled", noted)
    return found


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def wait_for(settled, count):
    until = time.monotonic() + 30
    while len(settled) < count and time.monotonic() < until:
        time.sleep(disk.INTERVAL_S)


def test_digests_are_hashlibs(tmp_path):
    contents = {"one": b"1" * 1000, "two": b"", "three": b"3"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = disk.Settling().digests(tmp_path / name for name in contents)
    assert found == [sha256(content) for content in contents.values()]
    assert disk.digest(tmp_path / "one") == found[0]


def test_what_was_begun_early_is_not_done_again_under_another_name(tmp_path, settled):
    settling = disk.Settling()
    with settling.early(str(tmp_path / "*.part")):
        (tmp_path / "a.part").write_bytes(b"early")
        wait_for(settled, 1)
        (tmp_path / "b").write_bytes(b"late")
    assert settled == [b"early"]
    os.rename(tmp_path / "a.part", tmp_path / "a")
    assert settling.digests([tmp_path / "a", tmp_path / "b"]) == [sha256(b"early"), sha256(b"late")]
    assert settled == [b"early", b"late"]


def test_what_was_begun_too_early_is_done_again(tmp_path, settled):
    settling = disk.Settling()
    with settling.early(str(tmp_path / "*")):
        (tmp_path / "a").write_bytes(b"half")
        wait_for(settled, 1)
        with open(tmp_path / "a", "ab") as file:
            file.write(b" and half")
    assert settling.digests([tmp_path / "a"]) == [sha256(b"half and half")]


def test_an_error_is_raised_when_digests_are_asked_for(tmp_path, monkeypatch):
    def no_room(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    settling = disk.Settling()
    with settling.early(str(tmp_path / "*")):
        (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(OSError, match="No space left"):
        settling.digests([tmp_path / "a"])
