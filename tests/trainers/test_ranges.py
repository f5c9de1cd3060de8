import inspect

import pytest

from trainers import ranges
from trainers.errors import UserError
from trainers.experiment import Experiment
from trainers.trainer import train


def first_line(error):
    return str(error.value).split("\n")[0]  # gin adds lines to what passes through it


@pytest.mark.parametrize(
    "setting, value, message",
    [
        ("accumulation", 0, "ACCUMULATION = 0: must be at least 1"),
        ("report_every_steps", 0, "train.report_every_steps = 0: must be at least 1"),
        ("evaluate_every_steps", 0, "EVAL_EVERY = 0: must be at least 1"),
        ("checkpoint_every_steps", -5, "CHECKPOINT_EVERY = -5: must be at least 1"),
        ("keep_checkpoints", 0, "train.keep_checkpoints = 0: must be at least 1"),
        ("steps", -1, "STEPS = -1: must be at least 1"),
        ("epochs", 0, "train.epochs = 0: must be above 0"),
        ("learning_rate", -0.1, "LEARNING_RATE = -0.1: must be at least 0"),
        ("clip_norm", -1.0, "train.clip_norm = -1.0: must be at least 0"),
        ("clip_norm", float("nan"), "train.clip_norm = nan: must be at least 0"),
        ("ema_decay", 1.0, "train.ema_decay = 1.0: must be at least 0 and below 1"),
    ],
)
def test_a_number_that_training_cannot_take_is_refused_before_anything_else(
    setting, value, message
):
    with pytest.raises(UserError) as error:
        train(None, None, **{"learning_rate": 0.1, setting: value})
    assert first_line(error) == message


@pytest.mark.parametrize(
    "setting, value, message",
    [
        ("batch_size", 0, "BATCH_SIZE = 0: must be at least 1"),
        (
            "evaluation_batch_size",
            -1,
            "Experiment.evaluation_batch_size = -1: must be at least 1",
        ),
        ("max_length", 0, "Experiment.max_length = 0: must be at least 1"),
        ("seed", 2**31, "SEED = 2147483648: must be at least 0 and below 2**31"),
    ],
)
def test_a_number_that_an_experiment_cannot_have_is_refused(setting, value, message):
    with pytest.raises(UserError) as error:
        Experiment(None, None, **{"batch_size": 1, "sequence_length": 1, setting: value})
    assert first_line(error) == message


@pytest.mark.parametrize("table, of", [(ranges.TRAIN, train), (ranges.EXPERIMENT, Experiment)])
def test_defaults_are_in_range(table, of):
    defaults = {name: each.default for name, each in inspect.signature(of).parameters.items()}
    absent = {name for name, value in defaults.items() if value is inspect.Parameter.empty}
    ranges.check(table, defaults | dict.fromkeys(absent))
