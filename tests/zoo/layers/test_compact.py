"""Matrices laid out for decoding, against the matrices themselves."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.zoo.models import MODELS, example, logits_of, make
from tests.zoo.test_contract import decoded
from zoo.layers.compact import GROUP, KINDS, Compact

# Half a step of rounding, of the greatest weight of a row; in four bits up to 0.3 is cut off.
ROUNDING = {
    "float32": 0.0,
    "bfloat16": 2**-9,
    "int16": 0.5 / 32767,
    "int8": 0.5 / 127,
    "int4": 0.3,
}


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("kind", KINDS)
def test_products_and_rows_are_those_of_the_matrix_to_half_a_step_of_rounding(kind):
    matrix, x = normal(7, 5), normal(2, 3, 5)
    matrix[3] = 0
    matrix[4] *= 1000  # each row has a scale of its own
    compact = Compact(matrix, kind)
    greatest = np.abs(matrix).max(axis=1)
    rows = ops.convert_to_numpy(compact.rows(np.arange(7)))
    assert (np.abs(rows - matrix) <= ROUNDING[kind] * greatest[:, None] * 1.001).all()
    np.testing.assert_allclose(compact(x), x @ rows.T, rtol=1e-5, atol=1e-4)
    assert compact.matrix.dtype == ("uint8" if kind == "int4" else kind)


@pytest.mark.parametrize("width", [1, 64, 100])
def test_four_bits_are_closer_than_plain_rounding_by_the_largest_of_each_group(width):
    matrix = normal(9, width)
    compact = Compact(matrix, "int4")
    padded = np.pad(matrix, [(0, 0), (0, -width % GROUP)]).reshape(9, -1, GROUP)
    step = np.abs(padded).max(axis=2, keepdims=True) / 7
    plain = (np.rint(padded / np.maximum(step, 1e-9)) * step).reshape(9, -1)[:, :width]
    found = ops.convert_to_numpy(compact.rows(np.arange(9)))
    assert ((found - matrix) ** 2).sum() <= ((plain - matrix) ** 2).sum() * (
        1 if width < 9 else 0.99
    )
    assert compact.matrix.shape[1] == -(-width // 64) * 32  # bytes of a row


def test_an_unknown_kind_is_refused():
    with pytest.raises(
        ValueError, match="'int3' are none of 'float32', 'bfloat16', 'int16', 'int8', 'int4'"
    ):
        Compact(normal(2, 2), "int3")


@pytest.mark.parametrize("name", MODELS)
def test_a_compact_model_decodes_as_before(name):
    model = make(name)
    features = example(model, 9, rows=2)
    before, size = logits_of(model, features), model.count_params()
    model.compact("float32")
    assert model.count_params() == size  # nothing is kept twice
    np.testing.assert_allclose(logits_of(model, features), before, atol=1e-4)
    found = decoded(model, features["inputs"], [4, 1, 4], 12, features)
    np.testing.assert_allclose(found, before, atol=1e-4)


@pytest.mark.parametrize("name", ["lstm", "gpt2", "translation"])
@pytest.mark.parametrize(
    "kind, tolerance", [("bfloat16", 0.05), ("int16", 1e-3), ("int8", 0.1), ("int4", 0.4)]
)
def test_fewer_bytes_change_logits_little(name, kind, tolerance):
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    features = example(model, 9, rows=2)
    before = logits_of(model, features)
    error = logits_of(model.compact(kind), features) - before
    assert 0 < np.sqrt(np.mean(error**2)) < tolerance * before.std()


def test_what_is_no_number_stays_none():
    x = normal(1, 5)
    x[0, 0] = np.nan
    assert np.isnan(ops.convert_to_numpy(Compact(normal(3, 5), "int8")(x))).all()
