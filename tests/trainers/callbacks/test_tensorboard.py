import glob

import gin
import pytest
import tensorflow as tf

from trainers.callbacks.tensorboard import TensorBoard, add, cut
from zoo import DecoderLM


@pytest.fixture(scope="module")
def model():
    return DecoderLM(11, num_layers=1, width=8, num_heads=2)


def run(folder, model, start, steps):
    board = TensorBoard(str(folder), start)
    board.set_model(model)
    board.on_train_begin()
    for step in steps:
        board.on_train_batch_end(step, {"loss": 1.0 / step, "tokens_per_second": 5.0})
        if step % 20 == 0:
            board.on_epoch_end(0, {"loss": 9.0, "val_loss": 2.0})
            board.write_samples({"sample": "text"})
    board.on_train_end()


def points(folder):
    """Sorted (split, tag, step) of all points."""
    found = []
    for path in glob.glob(f"{folder}/*/events.*"):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            found += [(path.split("/")[-2], v.tag, event.step) for v in event.summary.value]
    return sorted(found)


def test_the_step_is_the_optimizers_and_the_config_is_there_as_text(tmp_path, model):
    gin.clear_config()
    run(tmp_path, model, 0, [10, 20])
    assert points(tmp_path) == [
        ("train", "config", 0),
        ("train", "loss", 10),
        ("train", "loss", 20),
        ("train", "model", 0),
        ("train", "tokens_per_second", 10),
        ("train", "tokens_per_second", 20),
        ("validation", "loss", 20),
        ("validation", "sample", 20),
    ]


@pytest.mark.parametrize("start", [0, 20])
def test_a_run_that_goes_on_has_no_point_twice(tmp_path, model, start):
    run(tmp_path / "stopped", model, 0, [10, 20, 30])
    for path in glob.glob(f"{tmp_path}/stopped/train/events.*"):
        with open(path, "ab") as file:
            file.write(b"killed while writing")
    steps = [10, 20, 30, 40]
    run(tmp_path / "stopped", model, start, [step for step in steps if step > start])
    run(tmp_path / "whole", model, 0, steps)
    assert points(tmp_path / "stopped") == points(tmp_path / "whole")


def test_nothing_to_cut_is_no_trouble(tmp_path):
    for step in (0, 10):
        cut(str(tmp_path / "none"), {"train": step, "validation": step})


def test_what_was_evaluated_outside_of_training_stays_with_its_step(tmp_path, model):
    run(tmp_path, model, 0, [10, 20])
    for step in (10, 20):
        add(str(tmp_path), step, "test", {"bleu": 3.0}, {"decoded/0": "text"})
    add(str(tmp_path), 20, "validation", {}, {"decoded/0": "text"})  # nothing new
    expected = [("test", "bleu", 10), ("test", "decoded/0", 10)]
    both = [*expected, ("test", "bleu", 20), ("test", "decoded/0", 20)]
    assert [p for p in points(tmp_path) if p[0] == "test"] == sorted(both)
    assert ("validation", "decoded/0", 20) not in points(tmp_path)
    cut(str(tmp_path), {"train": 10, "validation": 10})
    assert [p for p in points(tmp_path) if p[0] == "test"] == expected
