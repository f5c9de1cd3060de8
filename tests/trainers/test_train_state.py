import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers import train_state


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


def test_averages_are_read_in_place_of_the_weights(tmp_path):
    model = InAList()
    averages = [tf.Variable(v.value + 1.0) for v in model.trainable_variables]
    path = str(tmp_path / "step_1")
    held = {"model": train_state.by_path(model.weights), "averages": averages}
    tf.train.Checkpoint(**held).write(f"{path}/state")
    expected = [average.numpy() for average in averages]
    train_state.restore_weights(model, path)
    for variable, average in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_array_equal(variable, average)


@pytest.mark.parametrize("with_averages", [False, True])
def test_the_mean_of_checkpoints_is_numpys_in_any_order(tmp_path, with_averages):
    draw, paths, kept = np.random.default_rng(0), [], []
    for step in range(3):
        model, path = InAList(), str(tmp_path / f"step_{step}")
        for weight in model.weights:
            weight.assign(draw.normal(size=weight.shape) * 10.0**step)
        held = {"model": train_state.by_path(model.weights)}
        kept.append([weight.numpy() for weight in model.weights])
        if with_averages:
            averages = [draw.normal(size=weight.shape) for weight in model.weights]
            held["averages"] = [tf.Variable(average, dtype="float32") for average in averages]
            kept[-1] = [average.numpy() for average in held["averages"]]
        tf.train.Checkpoint(**held).write(f"{path}/state")
        paths.append(path)
    expected = [np.mean(np.float64(each), axis=0) for each in zip(*kept, strict=True)]
    model, other = InAList(), InAList()
    train_state.restore_mean(model, paths)
    train_state.restore_mean(other, paths[::-1])
    for weight, again, mean in zip(model.weights, other.weights, expected, strict=True):
        np.testing.assert_array_equal(weight, mean.astype("float32"))
        np.testing.assert_allclose(weight, again, rtol=1e-6)
    train_state.restore_mean(model, paths[:1])
    for weight, values in zip(model.weights, kept[0], strict=True):
        np.testing.assert_array_equal(weight, values)
