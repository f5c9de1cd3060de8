import numpy as np
import pytest

from zoo.layers.norms import EPSILON, norm


def x():
    return (3 + 2 * np.random.default_rng(0).standard_normal((2, 3, 8))).astype("float32")


@pytest.mark.parametrize("kind, gain", [("rms", 2.0), ("rms_without_gain", 1.0)])
def test_rms_norms_divide_by_the_root_of_the_mean_square(kind, gain):
    layer = norm(kind, 8)
    for weight in layer.weights:
        weight.assign(np.full(8, gain))
    expected = gain * x() / np.sqrt((x().astype("float64") ** 2).mean(-1, keepdims=True) + EPSILON)
    np.testing.assert_allclose(layer(x()), expected, atol=1e-5)
    assert layer.count_params() == (8 if kind == "rms" else 0)


def test_layer_norm_also_takes_the_mean_off():
    wide = x().astype("float64")
    expected = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(
        wide.var(-1, keepdims=True) + EPSILON
    )
    np.testing.assert_allclose(norm("layer", 8)(x()), expected, atol=1e-5)


def test_the_norm_without_gain_measures_in_float32_whatever_its_input():
    # In float16 the squares alone would overflow.
    large = np.full((1, 8), 1000.0, "float16")
    layer = norm("rms_without_gain", 8)
    layer.dtype_policy = "float16"
    found = layer(large)
    assert found.dtype == "float16"
    np.testing.assert_allclose(found, 1.0, atol=1e-3)
