import math

import numpy as np
import pytest

from zoo.layers.feed_forward import FeedForward

FORMULAS = {
    "relu": lambda x: max(x, 0.0),
    "gelu": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "squared_relu": lambda x: max(x, 0.0) ** 2,
    "swiglu": lambda x: x / (1 + math.exp(-x)),
}
FORMULAS["geglu"] = FORMULAS["gelu"]


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_feed_forward_network_is_its_formula(activation, use_bias):
    layer = FeedForward(3, 5, activation, use_bias, output_scale=1.0)
    generator = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(generator.standard_normal(weight.shape))
    x = generator.standard_normal((2, 4, 3)).astype("float32")
    up, down = (np.asarray(dense.kernel, "float64") for dense in (layer.up, layer.down))
    up_bias, down_bias = (
        np.asarray(dense.bias) if use_bias else 0.0 for dense in (layer.up, layer.down)
    )
    hidden = x @ up + up_bias
    activated = np.vectorize(FORMULAS[activation])
    if activation in ("swiglu", "geglu"):
        hidden = activated(hidden[..., :5]) * hidden[..., 5:]
    else:
        hidden = activated(hidden)
    np.testing.assert_allclose(layer(x), hidden @ down + down_bias, atol=1e-4)


def test_an_output_scale_of_zero_starts_the_network_as_zero():
    x = np.ones((1, 2, 8), "float32")
    assert not np.any(FeedForward(8, 8, "relu", True, output_scale=0.0)(x))
    assert np.any(FeedForward(8, 8, "relu", True, output_scale=1.0)(x))


def test_weights_start_with_the_variance_of_their_fan_in():
    kernel = np.asarray(FeedForward(200, 300, "relu", False, output_scale=0.5).down.kernel)
    assert kernel.std() == pytest.approx(0.5 * 300**-0.5, rel=0.03)
