"""Attention against its formula, written with loops."""

import numpy as np
import pytest
from keras import ops

from tests.zoo.gradients import gradients
from zoo.layers.attention import Attention, attend, cache_mask, causal_mask, segment_mask, write

B, T, S, H, D = 2, 4, 5, 4, 6


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def naive_attention(queries, keys, values, mask, bias):
    """A head, a query and a key at a time, in float64."""
    result = np.zeros(queries.shape)
    group = queries.shape[2] // keys.shape[1]
    for b, t, h in np.ndindex(*queries.shape[:3]):
        allowed = np.flatnonzero(mask[b if len(mask) > 1 else 0, 0, t])
        if not len(allowed):
            continue
        scores = [
            queries[b, t, h].astype("float64") @ keys[b, h // group, s] / np.sqrt(queries.shape[3])
            + bias[0, h, t, s]
            for s in allowed
        ]
        weights = np.exp(scores) / np.exp(scores).sum()
        result[b, t, h] = weights @ values[b, h // group, allowed]
    return result


@pytest.mark.parametrize("num_kv_heads", [4, 2, 1])
@pytest.mark.parametrize("mask_rows", [B, 1])
def test_attend_is_the_formula_with_shared_heads_a_bias_and_a_mask(num_kv_heads, mask_rows):
    queries = normal(B, T, H, D)
    keys, values = normal(2, B, num_kv_heads, S, D, seed=1)
    bias = normal(1, H, T, S, seed=2)
    mask = np.random.default_rng(3).random((mask_rows, 1, T, S)) < 0.6
    mask[0, 0, 1] = False  # a row that may look nowhere
    found = attend(queries, [keys], [values], mask, bias)
    expected = naive_attention(queries, keys, values, mask, bias)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.any(found[0, 1])
    unbiased = attend(queries, [keys], [values], mask)
    np.testing.assert_allclose(
        unbiased, naive_attention(queries, keys, values, mask, 0 * bias), atol=1e-5
    )


def test_a_row_that_may_look_nowhere_has_zero_gradients_and_no_nan():
    queries, keys, values = normal(1, T, H, D), *normal(2, 1, H, T, D, seed=1)
    mask = np.ones((1, 1, T, T), bool)
    mask[0, 0, 2] = False
    place = np.eye(T, dtype="float32")[2][None, :, None, None]  # the loss is of that row alone
    found = gradients(
        lambda q, k, v: ops.sum(attend(q, [k], [v], mask) * place), (queries, keys, values)
    )
    for gradient in found:
        np.testing.assert_array_equal(gradient, 0)
    found = gradients(lambda q, k, v: ops.sum(attend(q, [k], [v], mask)), (queries, keys, values))
    for gradient in found:
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_scores_far_apart_do_not_overflow():
    queries, keys, values = 1e4 * normal(3, 1, T, T, D)
    assert np.isfinite(attend(queries, [keys], [values], np.ones((1, 1, T, T), bool))).all()


def allowed(mask):
    """The places of True, a set for each row."""
    return [set(np.flatnonzero(row)) for row in np.asarray(mask)]


def test_a_causal_mask_shows_a_token_itself_and_what_came_before():
    assert allowed(causal_mask(None, 4)[0, 0]) == [{0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 3}]


def test_a_window_counts_the_token_itself():
    assert allowed(causal_mask(None, 4, window=2)[0, 0]) == [{0}, {0, 1}, {1, 2}, {2, 3}]


def test_segments_part_examples_and_padding_looks_nowhere():
    mask = causal_mask(np.array([[1, 1, 2, 2, 0]], "int32"), 5)
    assert allowed(mask[0, 0]) == [{0}, {0, 1}, {2}, {2, 3}, set()]
    mask = segment_mask(np.array([[1, 2, 3, 0]], "int32"), np.array([[2, 1, 1, 0]], "int32"))
    assert allowed(mask[0, 0]) == [{1, 2}, {0}, set(), set()]


def test_a_cache_shows_what_is_written_and_no_padding():
    padding = np.array([0, 2], "int32")
    index = np.array([3, 4], "int32")
    mask = cache_mask(index, 2, 6, padding)
    # 6 and 7 are the new tokens themselves.
    assert allowed(mask[0, 0]) == [{0, 1, 2, 6}, {0, 1, 2, 6, 7}]
    assert allowed(mask[1, 0]) == [{2, 3, 6}, {2, 3, 6, 7}]
    assert allowed(cache_mask(index, 2, 6, padding, window=2)[1, 0]) == [{3, 6}, {6, 7}]


def test_a_cache_keeps_what_was_written_before_and_after_the_new_slots_of_each_row():
    layer = Attention(8, 2, 1, 4, use_bias=False, qk_norm=False, output_scale=1.0)
    cache = {name: normal(2, 1, 5, 4) for name in ("keys", "values")}
    mask = np.ones((1, 1, 2, 7), bool)
    _, new = layer(normal(2, 2, 8), mask, cache=cache)
    new = write(cache, new, np.array([1, 3], "int32"))
    for name, before in cache.items():
        after = ops.convert_to_numpy(new[name])
        for row, written in enumerate(({1, 2}, {3, 4})):
            changed = (after[row, 0] != before[row, 0]).all(-1)
            assert set(np.flatnonzero(changed)) == written
            assert (after[row, 0] == before[row, 0])[~changed].all()


@pytest.mark.parametrize("index", [[2, 2, 2], [2, 0, 2], [1, 9, 2], [9, 0, 1]])
def test_rows_are_written_at_the_slots_of_their_own(index):
    cache, new = normal(3, 2, 4, 5), normal(3, 2, 1, 5)
    expected = np.array(cache)
    for row, slot in enumerate(index):
        expected[row, :, min(slot, 3)] = new[row, :, 0]
    written = write(cache, new, np.array(index, "int32"))
    np.testing.assert_array_equal(ops.convert_to_numpy(written), expected)


def test_what_stands_behind_the_last_slot_of_a_cache_is_written_there():
    cache, new = np.zeros((1, 1, 3, 2), "float32"), np.ones((1, 1, 1, 2), "float32")
    written = write(cache, new, np.array([7], "int32"))
    np.testing.assert_array_equal(ops.convert_to_numpy(written)[0, 0, :, 0], [0, 0, 1])
