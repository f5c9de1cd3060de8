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


@pytest.fixture(scope="session")
def exports():
    """{family: folder of an export, in a folder like a model_dir}, made once for a test run."""
    from tests.trainers.tiny import FAMILIES, BytesTokenizer, family
    from trainers.export import export_model

    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"alone-{os.getpid()}")
    parent = os.path.join(tempfile.gettempdir(), f"menagerie-{run}-exports")
    os.makedirs(parent, exist_ok=True)
    folders = {}
    with open(f"{parent}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in FAMILIES:
            folders[name] = os.path.join(parent, name, "export")
            if not os.path.exists(folders[name]):
                model, layout = family(name)
                export_model(model, BytesTokenizer(), folders[name], layout, 64)
                assert os.listdir(os.path.dirname(folders[name])) == ["export"]
    return folders
