"""Each family from text to a trained, evaluated and exported model, by the command line."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.end_to_end.recipes import (
    FAMILIES,
    arguments,
    assert_same,
    command,
    metrics_of,
    tensors,
    timeless,
)
from trainers import checkpoints, metrics

# Whatever the family, the road is the same: every test walks it with all three, `make test` with one.
FAMILY_PARAMETERS = [
    family if family == "decoder_lm" else pytest.param(family, marks=pytest.mark.slow)
    for family in FAMILIES
]


@pytest.fixture(scope="module", params=FAMILY_PARAMETERS)
def trained(request, tmp_path_factory):
    """(family, model_dir, flags, output) of a run that was left alone."""
    folder = tmp_path_factory.mktemp(request.param)
    model_dir = str(folder / "run")
    flags = arguments(str(folder), request.param, train__export_at_end=True)
    status, out, err = command(*flags, f"--model_dir={model_dir}")
    assert status == 0, err
    return request.param, model_dir, flags, out


def test_a_model_dir_is_all_a_run_is(trained):
    _, model_dir, _, out = trained
    parts = {"config.gin", "tokenizer", "checkpoints", "metrics.jsonl", "tensorboard", "export"}
    assert parts <= set(os.listdir(model_dir))
    assert "begins at step 0 from scratch" in out
    assert sorted(os.listdir(f"{model_dir}/checkpoints")) == ["step_10", "step_20"]


def test_metrics_are_as_promised_and_the_loss_falls(trained):
    _, model_dir, _, _ = trained
    reports = metrics_of(model_dir, "train")
    assert [line["step"] for line in reports] == [5, 10, 15, 20]
    for line in reports:
        assert {"loss", "perplexity", "bits_per_byte", "learning_rate", "gradient_norm"} < set(line)
        assert line["tokens_per_second"] > 0
    evaluations = metrics_of(model_dir, "validation")
    assert [line["step"] for line in evaluations] == [10, 20]
    assert evaluations[1]["loss"] < evaluations[0]["loss"] < reports[0]["loss"]
    assert {"perplexity", "bits_per_byte", "accuracy", "word_perplexity"} < set(evaluations[0])


def test_a_finished_run_run_again_says_so_and_changes_nothing(trained):
    _, model_dir, flags, _ = trained
    before = tensors(model_dir), metrics_of(model_dir)
    status, out, _ = command(*flags, f"--model_dir={model_dir}")
    assert status == 0
    assert f"{model_dir}: is trained for its 20 steps already; a higher STEPS goes on" in out
    assert_same(tensors(model_dir), before[0])
    assert metrics_of(model_dir) == before[1]


def test_a_model_dir_alone_is_enough_to_evaluate_and_export(trained, tmp_path):
    _, model_dir, _, _ = trained
    copy = str(tmp_path / "copy")
    shutil.copytree(model_dir, copy, ignore=shutil.ignore_patterns("export", "data"))
    status, out, err = command(f"--model_dir={copy}", "--mode=evaluate")
    assert status == 0, err
    assert out.startswith("validation, step 20: loss ")
    assert metrics_of(copy) == metrics_of(model_dir)  # known already
    assert command(f"--model_dir={copy}", "--mode=evaluate", "--split=test")[0] == 0
    (test,) = metrics_of(copy, "test")
    assert test["step"] == 20 and test["loss"] > 0
    assert command(f"--model_dir={copy}", "--mode=export")[0] == 0
    exports = [tf.saved_model.load(f"{folder}/export") for folder in (copy, model_dir)]
    texts = [export.generate(tf.constant(["one two", "more"]))["text"] for export in exports]
    np.testing.assert_array_equal(texts[0], texts[1])


def test_what_evaluation_finds_is_what_training_found(trained, monkeypatch, tmp_path):
    _, model_dir, _, _ = trained
    copy = str(tmp_path / "copy")
    shutil.copytree(model_dir, copy)
    os.remove(f"{copy}/metrics.jsonl")
    command(f"--model_dir={copy}", "--mode=evaluate")
    (again,), (*_, first) = metrics_of(copy), metrics_of(model_dir, "validation")
    assert {*again, "seconds"} == first.keys()
    assert again["loss"] == pytest.approx(first["loss"], rel=1e-6)
    assert again["tokens"] == first["tokens"]


class Stopped(Exception):
    """Stands for a process that is killed."""


@pytest.mark.parametrize(
    "moment", ["before a checkpoint", "after a checkpoint", "in an evaluation"]
)
def test_a_run_that_was_stopped_ends_like_one_that_was_not(trained, tmp_path, monkeypatch, moment):
    family, model_dir, _, _ = trained
    stopped = str(tmp_path / "run")
    flags = [*arguments(str(tmp_path), family), f"--model_dir={stopped}"]
    save = checkpoints.Checkpoints.save_soon

    def save_and_stop(self, state, step, *rest):
        if moment == "after a checkpoint":
            save(self, state, step, *rest)
            self.wait()
        elif step == 10:
            return save(self, state, step, *rest)
        raise Stopped

    def evaluate_and_stop(self, stop):
        raise Stopped

    with monkeypatch.context() as patch:
        if moment == "in an evaluation":
            patch.setattr(metrics.Evaluation, "run", evaluate_and_stop)
        else:
            patch.setattr(checkpoints.Checkpoints, "save_soon", save_and_stop)
        with pytest.raises(Stopped):
            command(*flags)
    status, out, err = command(*flags)
    assert status == 0, err
    assert f"goes on from {stopped}/checkpoints/step_10" in out
    assert_same(tensors(stopped), tensors(model_dir))
    assert timeless(stopped) == timeless(model_dir)
