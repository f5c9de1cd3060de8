import os

import pytest

from tests.trainers.tiny import FAMILIES, BytesTokenizer, family
from trainers.export import export_model


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """{family: folder of an export, in a folder like a model_dir}"""
    folders = {}
    for name in FAMILIES:
        model, layout = family(name)
        model_dir = tmp_path_factory.mktemp(name)
        folders[name] = str(model_dir / "export")
        export_model(model, BytesTokenizer(), folders[name], layout, 64)
        assert os.listdir(model_dir) == ["export"]
    return folders
