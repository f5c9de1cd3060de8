import pytest

from tests.trainers.declarations import MODELS, TRAINERS
from trainers import config
from trainers.catalogue import Catalogue
from trainers.errors import UserError


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
