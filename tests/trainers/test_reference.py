import os
from types import SimpleNamespace

import numpy as np
import pytest

from tests.trainers.pairing import LENGTH, ROWS, model_of, plan_of, store
from trainers import reference, strategies
from trainers.data.pair_batches import pairs
from trainers.errors import UserError
from trainers.model_dir import ModelDir
from trainers.preferences import answers_of


@pytest.fixture
def experiment():
    """Of one split."""
    return SimpleNamespace(
        task=SimpleNamespace(splits=("train",)),
        make_plan=lambda *_: plan_of("decoder_lm", training=False),
    )


@pytest.fixture
def directory(tmp_path):
    return ModelDir(str(tmp_path))


@pytest.fixture
def model():
    return model_of("decoder_lm")


def keep(experiment, model, directory):
    strategy = strategies.make_strategy("one_device")
    reference.keep(experiment, model, None, directory, strategy, xla=False)


def test_a_plan_gets_what_the_model_that_began_made_of_each_pair(experiment, model, directory):
    keep(experiment, model, directory)
    (name,) = os.listdir(directory.reference)
    assert name.startswith("train-") and name.endswith(".npz")
    plan = plan_of("decoder_lm")
    reference.give(plan, directory)
    held_out = plan_of("decoder_lm", training=False, rows=21)
    expected = answers_of(model, held_out.batch(0))  # all of them in one batch
    np.testing.assert_allclose(plan.reference, expected, rtol=1e-5)
    assert plan.reference.dtype == "float32"
    assert plan.batch(0)["reference"].shape == (ROWS, 2)


def test_it_is_worked_out_again_where_the_run_begins_with_other_weights(
    experiment, model, directory, capsys
):
    keep(experiment, model, directory)
    keep(experiment, model, directory)
    assert capsys.readouterr().out.count("the reference model reads 21 pairs of the train") == 1
    for weight in model.weights:
        weight.assign(1.1 * weight)
    keep(experiment, model, directory)
    assert "21 pairs" in capsys.readouterr().out
    plan = plan_of("decoder_lm", training=False)
    reference.give(plan, directory)
    expected = answers_of(model, plan_of("decoder_lm", training=False).batch(0))
    np.testing.assert_allclose(plan.reference[:ROWS], expected, rtol=1e-5)


def test_a_file_that_was_not_finished_is_none(experiment, model, directory, monkeypatch):
    def fails(*_):
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        with pytest.raises(InterruptedError):
            keep(experiment, model, directory)
    with pytest.raises(UserError):
        reference.give(plan_of("decoder_lm"), directory)
    keep(experiment, model, directory)
    reference.give(plan_of("decoder_lm"), directory)


def test_rows_that_cut_otherwise_have_no_reference(experiment, model, directory):
    keep(experiment, model, directory)
    reference.give(pairs(store(), 3, LENGTH, training=False), directory)
    for lengths in ({"sequence_length": LENGTH - 1}, {"source_length": LENGTH}):
        plan = pairs(store(), 3, **({"sequence_length": LENGTH} | lengths))
        with pytest.raises(UserError, match=r"is not there; the reference model reads the pairs"):
            reference.give(plan, directory)
