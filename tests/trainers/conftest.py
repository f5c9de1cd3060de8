import fcntl
import os
import tempfile

import pytest

from tests.trainers.declarations import MODELS, TRAINERS
from tests.trainers.tiny import FAMILIES, BytesTokenizer, family
from trainers import config
from trainers.catalogue import Catalogue
from trainers.errors import UserError
from trainers.export import export_model


@pytest.fixture(scope="session")
def exports():
    """{family: folder of an export, in a folder like a model_dir}, made once for a test run."""
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


@pytest.fixture
def catalogue(tmp_path):
    for name, text in {
        "zoo/__init__.py": '__all__ = ["DecoderLM", "LSTMLM", "LanguageModel"]',
        "zoo/models.py": MODELS,
        "trainers/parts/parts.py": TRAINERS,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return Catalogue(str(tmp_path))


@pytest.fixture
def check(tmp_path, monkeypatch, catalogue):
    """Checks a recipe, x.gin in the working directory."""
    monkeypatch.chdir(tmp_path)

    def check(text, *params):
        (tmp_path / "x.gin").write_text(text)
        return config.check(["x.gin"], params, catalogue=catalogue)

    return check


@pytest.fixture
def complaint(check):
    def complaint(text, *params):
        with pytest.raises(UserError) as error:
            check(text, *params)
        return str(error.value)

    return complaint
