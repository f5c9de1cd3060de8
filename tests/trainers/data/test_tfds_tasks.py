"""The gin files over TFDS, on TFDS' own mock data: the features are the data sets', the values are not."""

import glob
import os
import socket

import gin
import pytest

from trainers import config, registry
from trainers.experiment import Experiment
from trainers.settings import ROOT

FILES = sorted(glob.glob(os.path.join(ROOT, "configs", "tasks", "tfds_*.gin")))
SENTIMENT = {"negative", "positive"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(params=FILES, ids=lambda path: os.path.basename(path)[:-4])
def task(request, tmp_path):
    """(name, task) of a gin file, its data mocked."""
    import tensorflow_datasets as tfds

    name = os.path.basename(request.param)[:-4]
    registry.register()
    recipe = tmp_path / "x.gin"
    recipe.write_text(
        f'include "configs/recipes/dates_en_de.gin"\ninclude "{request.param}"\n'
        f"{name}/tfds_dataset.data_dir = '{tmp_path}'\n"
    )
    config.load(config.check([str(recipe)], []))
    policy = tfds.testing.MockPolicy.USE_CODE
    try:
        with tfds.testing.mock_data(num_examples=12, policy=policy):
            yield name, Experiment().task
    finally:
        gin.clear_config()


def test_there_is_a_file_for_each_of_the_sets():
    assert len(FILES) == 7


def test_every_split_gives_pairs_of_text(task):
    name, made = task
    assert {"train", "validation"} <= set(made.splits)
    for split in made.splits:
        examples = list(made.examples(split))
        assert examples, split
        for example in examples:
            assert isinstance(example["inputs"], str) and example["inputs"].strip()
            assert isinstance(example["targets"], str) and example["targets"].strip()
            if made.labels:
                assert example["targets"] in SENTIMENT
            if made.references:
                assert example["targets"] == example["references"][0]
    assert bool(made.references) == (name == "tfds_squad")
    assert bool(made.labels) == (name in ("tfds_sst2", "tfds_imdb_reviews"))
