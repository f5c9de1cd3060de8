"""Positions against the formulas of their papers, written with loops."""

import math

import numpy as np
import pytest
from keras import ops

from zoo.layers.positions import LearnedPositions, RelativeBias, rotate, rotation, sinusoids


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def test_sinusoids_are_sines_then_cosines_of_geometric_wavelengths():
    found = np.asarray(sinusoids(np.array([[0, 1, 7, 300]], "int32"), 6))
    for place, position in enumerate([0, 1, 7, 300]):
        for i in range(3):
            angle = position / 10000 ** (2 * i / 6)
            np.testing.assert_allclose(found[0, place, i], math.sin(angle), atol=2e-5)
            np.testing.assert_allclose(found[0, place, 3 + i], math.cos(angle), atol=2e-5)


@pytest.mark.parametrize("base", [10000.0, 100.0])
def test_rotation_multiplies_complex_numbers_of_both_halves(base):
    x = normal(2, 3, 2, 8)
    positions = np.array([[0, 1, 2], [5, 6, 40]], "int32")
    found = np.asarray(rotate(ops.convert_to_tensor(x), rotation(positions, 8, base)))
    for b, t, h, i in np.ndindex(2, 3, 2, 4):
        turn = np.exp(1j * positions[b, t] * base ** (-2 * i / 8))
        expected = (x[b, t, h, i] + 1j * x[b, t, h, i + 4]) * turn
        np.testing.assert_allclose(found[b, t, h, i], expected.real, atol=1e-5)
        np.testing.assert_allclose(found[b, t, h, i + 4], expected.imag, atol=1e-5)


def test_products_of_rotated_vectors_depend_on_their_distance_alone():
    query, key = normal(2, 1, 1, 1, 8)

    def product(query_position, key_position):
        turned = [
            rotate(ops.convert_to_tensor(x), rotation(np.array([[position]], "int32"), 8))
            for x, position in ((query, query_position), (key, key_position))
        ]
        return float(ops.sum(turned[0] * turned[1]))

    assert product(9, 4) == pytest.approx(product(105, 100), abs=1e-4)
    assert product(0, 0) == pytest.approx(float((query * key).sum()), abs=1e-5)
    assert abs(product(9, 4) - product(9, 5)) > 1e-3


def reference_bucket(distance, bidirectional, num_buckets, max_distance):
    """Of key position minus query position, as appendix code of Raffel et al. 2020 has it."""
    first = 0
    if bidirectional:
        num_buckets //= 2
        first = num_buckets if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    exact = num_buckets // 2
    if distance < exact:
        return first + distance
    # Each bucket's lower end is compared in whole numbers: logarithms round.
    bucket = exact
    while bucket + 1 < num_buckets and distance ** (num_buckets - exact) * exact ** (
        bucket + 1 - exact
    ) >= exact ** (num_buckets - exact) * max_distance ** (bucket + 1 - exact):
        bucket += 1
    return first + bucket


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_buckets, max_distance", [(32, 128), (16, 64), (8, 20)])
def test_relative_buckets_are_exact_near_by_and_logarithmic_far_away(
    bidirectional, num_buckets, max_distance
):
    layer = RelativeBias(2, bidirectional, num_buckets, max_distance)
    distances = np.arange(-300, 301, dtype="int32")
    expected = [
        reference_bucket(int(d), bidirectional, num_buckets, max_distance) for d in distances
    ]
    np.testing.assert_array_equal(layer.buckets(ops.convert_to_tensor(distances)), expected)


def test_a_relative_bias_is_a_head_s_entry_for_the_bucket():
    layer = RelativeBias(2, bidirectional=False)
    layer.table.assign(normal(32, 2))
    query_positions, key_positions = np.array([[4, 9]], "int32"), np.array([[0, 4, 8]], "int32")
    bias = np.asarray(layer(query_positions, key_positions))
    assert bias.shape == (1, 2, 2, 3)
    table = np.asarray(layer.table)
    for h, t, s in np.ndindex(2, 2, 3):
        behind = max(query_positions[0, t] - key_positions[0, s], 0)  # below 16: a bucket each
        assert bias[0, h, t, s] == table[behind, h]


def test_positions_past_a_learned_table_share_its_last_vector():
    layer = LearnedPositions(4, 3, 1.0)
    table = np.asarray(layer.table)
    np.testing.assert_array_equal(layer(np.array([[0, 3, 9]], "int32"))[0], table[[0, 3, 3]])
