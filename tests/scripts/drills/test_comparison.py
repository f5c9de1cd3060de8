"""What two runs may differ in, on model_dirs made by hand."""

import pytest
import tensorflow as tf
from drills.comparison import differences

from trainers.callbacks import metrics_file, tensorboard
from trainers.checkpoints import Checkpoints
from trainers.model_dir import ModelDir


def make(path, weight=1.0, loss=2.0, point=2.0, sample="text", seconds=3.0, points=1):
    """A run of one report, which `seconds` are the times of."""
    directory = ModelDir(str(path))
    state = tf.train.Checkpoint(weight=tf.Variable([0.0, weight]))
    Checkpoints(directory.checkpoints).save(state, 10, metrics={})
    times = dict.fromkeys(metrics_file.TIMES, seconds)
    metrics_file.append(directory.metrics, {"step": 10, "split": "train", "loss": loss, **times})
    for _ in range(points):
        figures = {"loss": point, **times}
        tensorboard.add(directory.tensorboard, 10, "train", figures, {"sample": sample})
    return directory.path


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return make(tmp_path_factory.mktemp("drill") / "alone")


@pytest.mark.parametrize("otherwise", [{}, {"seconds": 4.0}], ids=["the same", "slower"])
def test_equal_runs_differ_in_nothing_but_times(tmp_path, alone, otherwise):
    assert not list(differences(alone, make(tmp_path / "harmed", **otherwise)))


@pytest.mark.parametrize(
    ("otherwise", "found"),
    [
        ({"weight": 1.0000001}, ["step 10: weight/.ATTRIBUTES/VARIABLE_VALUE"]),
        ({"loss": 2.0000001}, ["metrics.jsonl"]),
        ({"point": 2.0000002}, ["the points in TensorBoard"]),
        ({"point": float("nan")}, ["the points in TensorBoard"]),
        ({"sample": "test"}, ["the points in TensorBoard"]),
        ({"points": 2}, ["the points in TensorBoard"]),
        (
            {"weight": -1.0, "loss": 1.0},
            ["step 10: weight/.ATTRIBUTES/VARIABLE_VALUE", "metrics.jsonl"],
        ),
    ],
    ids=str,
)
def test_what_differs_is_named(tmp_path, alone, otherwise, found):
    assert list(differences(alone, make(tmp_path / "harmed", **otherwise))) == found


def test_points_that_are_no_number_are_equal_to_the_bit(tmp_path):
    one, other = (make(tmp_path / name, point=float("nan")) for name in ("one", "other"))
    assert not list(differences(one, other))
