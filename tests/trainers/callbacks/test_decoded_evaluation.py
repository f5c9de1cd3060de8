import os

import pytest
import tensorflow as tf

from tests.trainers.data.made import Listed
from tests.trainers.tiny import BytesTokenizer, family
from trainers.callbacks.decoded_evaluation import DecodedEvaluation
from trainers.callbacks.watching import check_best_metric
from trainers.data import tasks
from trainers.errors import UserError
from trainers.text_model import TextModel

RECORDS = [{"source": "one", "target": "eins"}, {"source": "two words", "target": "zwei"}]
TASK = tasks.text_to_text(Listed(RECORDS), "say {source} now", metrics=["exact_match", "lengths"])


class Board:
    def write_samples(self, texts):
        self.texts = texts


@pytest.fixture
def evaluation(tmp_path):
    """DecodedEvaluation in a run of 100 steps with a model that has learned nothing."""

    def make_text_model(**settings):
        model, layout = family("encoder_decoder")
        affixes = dict(zip(("prefix", "suffix"), TASK.prompt_affixes(), strict=True))
        return TextModel(model, BytesTokenizer(), layout, 32, **affixes | settings)

    def evaluation(**settings):
        callback = DecodedEvaluation(max_new_tokens=4, **settings)
        callback.set_params(
            {
                "steps": 100,
                "task": TASK,
                "tensorboard": Board(),
                "predictions": str(tmp_path / "predictions"),
                "strategy": tf.distribute.get_strategy(),
                "make_text_model": make_text_model,
            }
        )
        return callback

    return evaluation


def test_it_runs_with_every_so_many_evaluations_and_with_the_last(evaluation, tmp_path):
    callback = evaluation(every_evaluations=3, samples=1)
    ran = [
        step
        for number, step in enumerate(range(10, 101, 10), 1)
        if callback.on_evaluation(step, number, lambda: False)
    ]
    assert ran == [30, 60, 90, 100]
    written = {name.split(".")[0] for name in os.listdir(tmp_path / "predictions")}
    assert written == {f"validation-{step}" for step in ran}
    (sample,) = callback.params["tensorboard"].texts.values()
    assert "inputs: say one now" in sample and "references: ['eins']" in sample


def test_figures_are_named_as_those_of_validation(evaluation):
    found = evaluation().on_evaluation(10, 1, lambda: False)
    assert list(found) == ["val_exact_match", "val_mean_words", "val_empty_answers"]


def test_the_model_reads_each_input_as_it_was_trained_to(evaluation):
    # The task's template is in the inputs of an example already, and an export would add it.
    callback = evaluation()
    callback.on_evaluation(10, 1, lambda: False)
    assert callback.export.description.prefix == callback.export.description.suffix == ""


def test_an_evaluation_that_is_stopped_leaves_nothing(evaluation, tmp_path):
    assert evaluation(batch_size=1).on_evaluation(10, 1, lambda: True) is None
    assert not (tmp_path / "predictions").exists()


def test_the_chiefs_figures_are_told_to_the_others(evaluation, monkeypatch):
    from trainers import strategies

    callback = evaluation()
    monkeypatch.setattr(strategies, "is_chief", lambda strategy: False)
    monkeypatch.setattr(
        strategies, "told_by_chief", lambda _, own: [0.0, 0.5, 3.0, 1.0][: len(own)]
    )
    found = callback.on_evaluation(10, 1, lambda: False)
    assert found == {"val_exact_match": 0.5, "val_mean_words": 3.0, "val_empty_answers": 1.0}
    assert callback.export is None  # it has decoded nothing


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"every_evaluations": 0}, "DecodedEvaluation.every_evaluations = 0: must be at least 1"),
        ({"max_examples": 0}, "DecodedEvaluation.max_examples = 0: must be at least 1"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"num_beams": 2, "temperature": 0.5}, "beam search takes no temperature"),
        ({"temperature": -1.0}, "temperature is -1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings, problem):
    with pytest.raises(UserError, match=problem):
        DecodedEvaluation(**settings)


def test_the_best_checkpoint_is_by_a_figure_that_the_run_has():
    measuring = [DecodedEvaluation()]
    check_best_metric("val_exact_match", measuring, TASK)
    check_best_metric("val_accuracy", [], TASK)
    with pytest.raises(UserError, match="'val_exact_math': .*did you mean val_exact_match"):
        check_best_metric("val_exact_math", measuring, TASK)
    with pytest.raises(UserError, match="add @DecodedEvaluation to train.callbacks"):
        check_best_metric("val_exact_match", [], TASK)
    with pytest.raises(UserError, match="did you mean val_loss"):
        check_best_metric("loss", [], TASK)


def test_a_run_without_validation_or_metrics_is_refused():
    source = Listed(RECORDS)
    with pytest.raises(UserError, match="names no metrics"):
        check_best_metric("val_loss", [DecodedEvaluation()], tasks.text_to_text(source))
    source.splits = ("train",)
    task = tasks.text_to_text(source, metrics=["bleu"])
    with pytest.raises(UserError, match="no validation split"):
        check_best_metric("val_loss", [DecodedEvaluation()], task)
