import numpy as np
import pytest

from trainers.data.shuffle import shuffled


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 100, 1000, 4097])
def test_every_index_comes_once(size):
    images = shuffled(np.arange(size), size, seed=7)
    assert sorted(images) == list(range(size))


def test_each_seed_has_its_own_order_and_seeds_may_be_given_one_an_index():
    first, second = (shuffled(np.arange(100), 100, seed) for seed in (1, 2))
    assert (first != second).mean() > 0.9
    both = shuffled(np.arange(100), 100, np.repeat([1, 2], 50))
    np.testing.assert_array_equal(both, np.concatenate([first[:50], second[50:]]))


@pytest.mark.parametrize("size", [2, 3, 5, 50])
def test_an_index_goes_everywhere_alike(size):
    draws = 4000
    counts = np.bincount(shuffled(np.zeros(draws, int), size, np.arange(draws)), minlength=size)
    expected = draws / size
    # Chi-squared, with five standard deviations allowed.
    assert ((counts - expected) ** 2 / expected).sum() < size + 5 * np.sqrt(2 * size)


def test_neighbours_are_torn_apart():
    images = shuffled(np.arange(10_000), 10_000, seed=0)
    assert abs(np.corrcoef(images[:-1], images[1:])[0, 1]) < 0.05
