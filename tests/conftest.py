import fcntl
import os
import sys
import tempfile

import pytest


@pytest.fixture(autouse=True)
def float32_again():
    """A test that runs a recipe in half precision leaves Keras as it was."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")


# Before pytest chooses tests by their marks: conftest.py is asked first.
def pytest_collection_modifyitems(items):
    for item in items:
        if {"torch", "transformers"} & set(item.fixturenames):
            item.add_marker("hf")


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch", reason="needs the extra `test-hf`")


@pytest.fixture(scope="session")
def transformers(torch):
    return pytest.importorskip("transformers", reason="needs the extra `test-hf`")


class Exports(dict):
    """{family: folder of an export, in a folder like a model_dir}, made when first asked for."""

    def __missing__(self, name):
        # Imported here, for most tests do without TensorFlow.
        from tests.trainers.tiny import BytesTokenizer, family
        from trainers.export import export_model

        run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"alone-{os.getpid()}")
        parent = os.path.join(tempfile.gettempdir(), f"menagerie-{run}-exports", name)
        os.makedirs(parent, exist_ok=True)
        folder = os.path.join(parent, "export")
        with open(f"{parent}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one of the processes of a test run makes it
            if not os.path.exists(folder):
                model, layout = family(name)
                export_model(model, BytesTokenizer(), folder, layout, 64)
                assert os.listdir(parent) == ["export"]
        self[name] = folder
        return folder


@pytest.fixture(scope="session")
def exports():
    return Exports()
