import keras
import numpy as np
import pytest

from tests.zoo.models import some_tokens
from zoo import LSTMLM


@pytest.mark.parametrize(
    "tied, head",
    [(True, 0), (False, 10 * 4)],
)
def test_weights_are_the_table_the_softmax_and_four_gates_a_layer(tied, head):
    model = LSTMLM(10, num_layers=2, width=4, tie_embeddings=tied)
    table, bias, layer = 10 * 4, 10, 4 * 16 + 4 * 16 + 16
    assert model.count_params() == table + head + bias + 2 * layer
    # Two products of [4] by [4, 16] a layer and [4] by [4, 10]; looking up is no product.
    assert model.matmul_flops_per_token(7) == 2 * (2 * (2 * 4 * 16) + 4 * 10)


@pytest.mark.parametrize("scale, expected", [(0.1, 0.1), (None, 0.25)])
def test_weights_start_uniform_within_the_scale(scale, expected):
    model = LSTMLM(50, width=16, initial_scale=scale)
    for weight in model.weights:
        values = np.asarray(weight)
        if "bias" in weight.path:
            assert not values.any()
        else:
            assert 0.95 * expected < np.abs(values).max() <= expected, weight.path


def test_position_zero_forgets_a_carried_state_and_no_positions_keep_it():
    model = LSTMLM(23, width=16, initial_scale=1.0)
    _, state = model({"inputs": some_tokens(1, 5)}, state=model.initial_state(1))
    window = {"inputs": some_tokens(1, 4, seed=1)}
    places = np.arange(4, dtype="int32")[None]
    fresh = model(window)
    carried, _ = model(window, state=state)
    counting_on, _ = model({**window, "positions": places + 5}, state=state)
    forgotten, _ = model({**window, "positions": places}, state=state)
    np.testing.assert_array_equal(carried, counting_on)
    np.testing.assert_allclose(forgotten, fresh, atol=1e-6)
    assert np.abs(np.asarray(carried) - np.asarray(fresh)).max() > 1e-2


def test_a_state_has_a_row_for_each_row_of_the_batch():
    state = LSTMLM(23, num_layers=3, width=16).initial_state(5)
    assert len(state) == 3
    assert {tuple(part.shape) for part in keras.tree.flatten(state)} == {(5, 16)}


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": 0}, "width 0 is not positive"),
        ({"num_layers": 0}, "num_layers 0 is not positive"),
        ({"vocabulary_size": -1}, "vocabulary_size -1 is not positive"),
        ({"layer_dropout": 1.0}, r"dropout 1.0 is not in \[0, 1\)"),
        ({"input_dropout": -0.5}, r"dropout -0.5 is not in \[0, 1\)"),
    ],
)
def test_settings_that_make_no_model_are_refused_in_a_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        LSTMLM(**{"vocabulary_size": 23, "width": 16, **settings})
