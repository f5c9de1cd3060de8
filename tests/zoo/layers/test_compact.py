"""Matrices laid out for decoding, against the matrices themselves."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.zoo.models import MODELS, example, logits_of, make
from tests.zoo.test_contract import decoded
from zoo.layers.compact import KINDS, Compact

# Half a step of rounding, of the greatest weight of a row.
ROUNDING = {"float32": 0.0, "bfloat16": 2**-9, "int16": 0.5 / 32767, "int8": 0.5 / 127}


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
    assert compact.matrix.dtype == kind


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'int3' are none of 'float32', 'bfloat16', 'int16'"):
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
@pytest.mark.parametrize("kind, tolerance", [("bfloat16", 0.05), ("int16", 1e-3), ("int8", 0.1)])
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
