import os
import socket
import sysconfig

import pytest

from trainers.data import datasets, python_stdlib
from trainers.errors import UserError


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def small_library(tmp_path, monkeypatch):
    """A library of a few modules in place of the interpreter's own."""
    modules = {f"module_{i}.py": f"number = {i}  # é\n" for i in range(60)}
    modules |= {"package/inner.py": "x = 1\n", "package/tests/test_inner.py": "no"}
    modules |= {"site-packages/other.py": "no", "notes.txt": "no"}
    modules["latin.py"] = "# -*- coding: latin-1 -*-\nname = 'é'\n"
    for path, text in modules.items():
        target = tmp_path / "lib" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode("latin-1" if path == "latin.py" else "utf-8"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "lib"))
    return {path: text for path, text in modules.items() if text != "no"}


def test_the_standard_library_is_read_whole_without_its_tests(small_library, tmp_path):
    source = datasets.python_stdlib(str(tmp_path / "data"))
    records = {split: list(source.records(split)) for split in source.splits}
    read = {r["path"]: r["text"] for split in records.values() for r in split}
    assert read == small_library
    for split, of_split in records.items():
        assert of_split
        assert {python_stdlib.split_of(record["path"]) for record in of_split} == {split}


def test_the_interpreters_own_library_gives_megabytes_of_python(data_dir):
    source = datasets.python_stdlib(data_dir)
    train, validation = (
        {record["path"]: len(record["text"]) for record in source.records(split)}
        for split in source.splits
    )
    assert "argparse.py" in train | validation
    assert sum(train.values()) > 5_000_000
    assert 0.01 < sum(validation.values()) / sum(train.values()) < 0.15


def test_an_unknown_data_set_is_one_clear_line(tmp_path):
    source = datasets.tfds_dataset("no_such_data_set", data_dir=str(tmp_path))
    with pytest.raises(UserError, match="data set 'no_such_data_set' of TensorFlow Datasets: "):
        next(source.records("train"))


def test_a_prepared_data_set_is_read_by_its_name_and_slice(data_dir):
    list(datasets.python_stdlib(data_dir).records("train"))
    source = datasets.tfds_dataset("python_stdlib", validation="validation[:3]", data_dir=data_dir)
    records = list(source.records("validation"))
    assert len(records) == 3
    assert os.path.basename(records[0]["path"]).endswith(".py")
    assert isinstance(records[0]["text"], str)
