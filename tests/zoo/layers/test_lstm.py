"""The LSTM against its equations a step at a time, its own gradient against automatic ones."""

import numpy as np
import pytest
from keras import ops

from tests.zoo.gradients import gradients
from zoo.layers import lstm
from zoo.layers.fusion import fusing
from zoo.layers.lstm import LSTM, recur, recurrence, slopes

T, B, INPUT, WIDTH = 6, 3, 5, 4
KEEP = np.ones((T, B, 1), "float32")
KEEP[0, 0] = KEEP[2, 1] = KEEP[5, 1] = KEEP[3, 0] = 0


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@pytest.fixture
def layer():
    layer = LSTM(INPUT, WIDTH, initial_scale=0.5)
    for i, weight in enumerate(layer.weights):
        weight.assign(normal(*weight.shape, seed=i))
    return layer


def naive_lstm(layer, x, keep, output, cell):
    """Hochreiter and Schmidhuber's equations, a step at a time in float64."""
    kernel, recurrent, bias = (np.asarray(weight, "float64") for weight in layer.weights)
    outputs = []
    for t in range(len(x)):
        output, cell = output * keep[t], cell * keep[t]
        z = x[t] @ kernel + output @ recurrent + bias
        i, f, o = (1 / (1 + np.exp(-z[:, k * WIDTH : (k + 1) * WIDTH])) for k in range(3))
        cell = f * cell + i * np.tanh(z[:, 3 * WIDTH :])
        output = o * np.tanh(cell)
        outputs.append(output)
    return np.stack(outputs), output, cell


@pytest.mark.parametrize("training", [False, True])
def test_the_layer_follows_the_equations_and_forgets_where_keep_is_zero(layer, training):
    x, (output, cell) = normal(T, B, INPUT), normal(2, B, WIDTH, seed=9)
    found, state = layer(x, KEEP, {"output": output, "cell": cell}, training=training)
    expected, last_output, last_cell = naive_lstm(layer, x, KEEP, output, cell)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(state["output"], last_output, atol=1e-5)
    np.testing.assert_allclose(state["cell"], last_cell, atol=1e-5)


def arguments():
    projected, recurrent = normal(T, B, 4 * WIDTH, seed=1), normal(WIDTH, 4 * WIDTH, seed=2)
    output, cell = normal(2, B, WIDTH, seed=3)
    return projected, recurrent, output, cell


def loss(function):
    """Of random weights on every output and every cell, so that no gradient is a special one."""
    output_weights, cell_weights = normal(2, T, B, WIDTH, seed=4)

    def of(projected, recurrent, output, cell):
        parts = (projected, KEEP, recurrent, output, cell)
        outputs, cells, *_ = function(*map(ops.convert_to_tensor, parts))
        return ops.sum(outputs * output_weights) + ops.sum(cells * cell_weights)

    return of


def test_the_custom_gradient_is_the_automatic_one_state_and_resets_included():
    automatic = gradients(loss(recurrence), arguments())
    custom = gradients(loss(recur), arguments())
    names = ("projected", "recurrent", "output", "cell")
    for name, one, other in zip(names, custom, automatic, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=1e-4, err_msg=name)
        assert np.abs(other).max() > 1e-2
    # Row 0 forgets before its first token: nothing flows back to the state it started from.
    for gradient in custom[2:]:
        assert not gradient[0].any() and gradient[1].any()


def test_the_custom_gradient_is_what_a_small_step_changes():
    function, at = loss(recur), arguments()
    found = gradients(function, at)
    for i, gradient in enumerate(found):
        direction = normal(*at[i].shape, seed=20 + i)
        step = 1e-2
        moved = [
            float(
                function(*(a + sign * step * direction if i == k else a for k, a in enumerate(at)))
            )
            for sign in (1, -1)
        ]
        expected = (moved[0] - moved[1]) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=2e-2, abs=2e-2)


def test_a_state_of_zeros_is_a_state_forgotten(layer):
    x, state = normal(T, B, INPUT), {"output": normal(B, WIDTH), "cell": normal(B, WIDTH)}
    forgotten, _ = layer(x, np.concatenate([0 * KEEP[:1], KEEP[1:]]), state)
    fresh, _ = layer(x, KEEP, layer.initial_state(B))
    np.testing.assert_allclose(forgotten, fresh, atol=1e-6)


@pytest.mark.parametrize("narrow", [True, False])
def test_a_narrow_loop_may_be_compiled_and_so_may_its_gradient(narrow, monkeypatch):
    def compile(function):
        handed.append(function)
        return function

    monkeypatch.setattr(lstm, "NARROW", WIDTH if narrow else WIDTH - 1)
    handed = []
    plain = gradients(loss(recur), arguments())
    with fusing(compile):
        found = gradients(loss(recur), arguments())
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(one, other)
    assert handed == ([recurrence, slopes] if narrow else [])
