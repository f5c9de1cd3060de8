import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainers import stepping
from trainers import train_state
from trainers.adaptation import LoRA, freeze
from trainers.errors import UserError
from zoo import DecoderLM


class InAList(keras.Model):
    """Keeps its layers in a list, where tf.train.Checkpoint does not find them by itself."""

    def __init__(self):
        super().__init__()
        self.blocks = [keras.layers.Dense(2, name=f"block_{i}") for i in range(2)]
        for block in self.blocks:
            block.build([None, 2])
        self.built = True


def test_every_weight_is_kept_also_of_layers_in_a_list(tmp_path):
    model, path = InAList(), str(tmp_path / "step_1")
    tf.train.Checkpoint(model=train_state.by_path(model.weights)).write(f"{path}/state")
    other = InAList()
    train_state.restore_weights(other, path)
    assert len(other.weights) == 4
    for weight, expected in zip(other.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    # When this fails, Keras has mended it, and `by_path` may go.
    tf.train.Checkpoint(model=model).write(f"{path}/plain")
    assert not any("blocks" in name for name, _ in tf.train.list_variables(f"{path}/plain"))


def test_variables_of_one_name_are_refused():
    layers = [keras.layers.Dense(1, name="twin") for _ in range(2)]
    for layer in layers:
        layer.build([None, 1])
    with pytest.raises(ValueError, match="two variables are called twin/kernel"):
        train_state.by_path([*layers[0].weights, *layers[1].weights])


def kept(model, path, learned, numbered=False):
    """Writes a checkpoint with averages of the weights whose path has `learned`; {path: values}."""
    chosen = [weight for weight in model.weights if learned in weight.path]
    held = {weight.path: tf.Variable(weight.value + 1.0) for weight in chosen}
    averages = list(held.values()) if numbered else held
    state = tf.train.Checkpoint(model=train_state.by_path(model.weights), averages=averages)
    state.write(f"{path}/state")
    values = {weight.path: weight.numpy() for weight in model.weights}
    return values | {key: average.numpy() for key, average in held.items()}


@pytest.mark.parametrize("numbered", [False, True])
def test_averages_are_read_in_place_of_the_weights(tmp_path, numbered):
    model, path = InAList(), str(tmp_path / "step_1")
    expected = kept(model, path, "", numbered)
    train_state.restore_weights(model, path)
    for weight in model.weights:
        np.testing.assert_array_equal(weight, expected[weight.path])


@pytest.mark.parametrize(
    ("learned", "frozen"), [("block_1", []), ("", ["block_0"]), ("block_0", ["block_0/kernel"])]
)
def test_averages_are_those_of_their_variables_whatever_learned_then_and_learns_now(
    tmp_path, learned, frozen
):
    path, model = str(tmp_path / "step_1"), InAList()
    expected = kept(InAList(), path, learned)
    freeze(model, frozen)
    train_state.restore_weights(model, path)
    for weight in model.weights:
        np.testing.assert_array_equal(weight, expected[weight.path])


@pytest.mark.parametrize(("learned", "frozen"), [("block_1", []), ("", ["block_0"])])
def test_numbered_averages_of_other_variables_are_refused(tmp_path, learned, frozen):
    path, model = str(tmp_path / "step_1"), InAList()
    kept(InAList(), path, learned, numbered=True)
    freeze(model, frozen)
    with pytest.raises(UserError, match="averages of weights are numbered"):
        train_state.restore_weights(model, path)


def test_low_rank_updates_begin_from_the_averages_of_a_whole_run(tmp_path):
    def make():
        return DecoderLM(20, num_layers=2, width=8, num_heads=2)

    path, model = str(tmp_path / "step_1"), make()
    expected = kept(make(), path, "")
    LoRA(rank=2).apply(model)
    train_state.restore_weights(model, path)
    for weight in model.weights:
        if weight.path in expected:
            np.testing.assert_array_equal(weight, expected[weight.path])


def made_state():
    keras.utils.clear_session()  # so that the model has the name of the one before
    step, plan = stepping.make("bigram", "adamw", ema_decay=0.5)
    return step, train_state.TrainState(step), plan


def test_a_run_with_numbered_averages_goes_on(tmp_path):
    step, state, plan = made_state()
    step.run(stepping.iterator(step, plan), 2)
    numbered = tf.train.Checkpoint(**(state.parts | {"averages": step.averages}))
    numbered.write(f"{tmp_path}/old/state")
    os.mkdir(tmp_path / "new")
    state.write(f"{tmp_path}/new/state")
    for path in ("old", "new"):
        again, read, _ = made_state()
        read.read(f"{tmp_path}/{path}")
        for average, expected in zip(again.averages, step.averages, strict=True):
            np.testing.assert_array_equal(average, expected)


@pytest.mark.parametrize("with_averages", [False, True])
def test_the_mean_of_checkpoints_is_numpys_in_any_order(tmp_path, with_averages):
    draw, paths, values = np.random.default_rng(0), [], []
    for step in range(3):
        model, path = InAList(), str(tmp_path / f"step_{step}")
        for weight in model.weights:
            weight.assign(draw.normal(size=weight.shape) * 10.0**step)
        held = {"model": train_state.by_path(model.weights)}
        values.append([weight.numpy() for weight in model.weights])
        if with_averages:
            averages = {weight.path: draw.normal(size=weight.shape) for weight in model.weights}
            averages = {p: tf.Variable(each, dtype="float32") for p, each in averages.items()}
            held["averages"] = averages
            values[-1] = [average.numpy() for average in averages.values()]
        tf.train.Checkpoint(**held).write(f"{path}/state")
        paths.append(path)
    expected = [np.mean(np.float64(each), axis=0) for each in zip(*values, strict=True)]
    model, other = InAList(), InAList()
    train_state.restore_mean(model, paths)
    train_state.restore_mean(other, paths[::-1])
    for weight, again, mean in zip(model.weights, other.weights, expected, strict=True):
        np.testing.assert_array_equal(weight, mean.astype("float32"))
        np.testing.assert_allclose(weight, again, rtol=1e-6)
    train_state.restore_mean(model, paths[:1])
    for weight, expected in zip(model.weights, values[0], strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize(
    "shape, said",
    [
        ((6, 3), "carries the state of 4 rows, and batches have 6; put back BATCH_SIZE, or begin"),
        ((4, 5), "was made by another model or optimizer (Received incompatible tensor"),
        ((6, 5), "was made by another model or optimizer (Received incompatible tensor"),
    ],
)
def test_a_batch_size_that_a_carried_state_does_not_fit_is_named(tmp_path, shape, said):
    path = str(tmp_path / "step_1")
    tf.train.Checkpoint(carried=[tf.Variable(tf.zeros((4, 3)))]).write(f"{path}/state")
    with pytest.raises(UserError) as error:
        train_state.restore(tf.train.Checkpoint(carried=[tf.Variable(tf.zeros(shape))]), path)
    assert str(error.value).startswith(f"{path}: {said}")
