import keras
import numpy as np
import pytest

from tests.zoo.models import MODELS, example, logits_of
from zoo.layers.rounding import GROUP, MOST, rounded


def drawn(outputs, width):
    """(matrix, inputs whose columns go together, as those of a network do)"""
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((500, width)) @ draw.standard_normal((width, width))
    return draw.standard_normal((outputs, width)).astype("float32"), inputs.astype("float32")


def weights_of(numbers, scales):
    return numbers * np.repeat(scales, GROUP, axis=1)


def test_gptq_makes_up_for_its_errors_in_products():
    matrix, inputs = drawn(24, 4 * GROUP)
    errors = []
    for moments in (None, inputs.T @ inputs):
        numbers, scales = rounded(matrix, moments)
        assert numbers.dtype == np.int8 and np.abs(numbers).max() == MOST
        assert scales.shape == (24, 4) and scales.dtype == np.float32
        errors.append(np.square(inputs @ (weights_of(numbers, scales) - matrix).T).sum())
    assert errors[1] < 0.7 * errors[0]


def test_gptq_is_the_papers_column_by_column():
    # Truth: equation 2 and 3 with the inverse worked out anew for what is left, scales given.
    matrix, inputs = drawn(3, GROUP)
    moments = (inputs.T @ inputs).astype("float64")
    numbers, scales = rounded(matrix, moments)
    left = matrix.astype("float64")
    damped = moments + 0.01 * np.trace(moments) / GROUP * np.eye(GROUP)
    for i in range(GROUP):
        inverse = np.linalg.inv(damped[i:, i:])
        found = np.clip(np.rint(left[:, i] / scales[:, 0]), -MOST, MOST)
        np.testing.assert_array_equal(numbers[:, i], found)
        error = (left[:, i] - found * scales[:, 0]) / inverse[0, 0]
        left[:, i:] -= error[:, None] * inverse[0]


@pytest.mark.parametrize("name", ["gpt2", "translation"])
def test_a_model_is_nearer_to_itself_on_what_it_was_calibrated_by(name):
    features = example(MODELS[name](), 9, rows=8)
    errors = []
    for calibration in ((), (features,)):
        keras.utils.set_random_seed(0)
        model = MODELS[name]()
        before = logits_of(model, features)
        errors.append(np.square(logits_of(model.compact("int4", calibration), features) - before))
    assert errors[1].mean() < 0.9 * errors[0].mean()
