import numpy as np
import pytest
from keras import ops

from zoo.layers.dropout import Dropout, step_seed

ONES = np.ones((200, 100), "float32")


def drop(seed=(1, 2), rate=0.3, place=0, x=ONES, **options):
    with step_seed(np.array(seed, "int32")):
        return ops.convert_to_numpy(Dropout(rate, place, **options)(x, training=True))


def test_the_rate_is_dropped_and_the_rest_scaled_so_that_the_mean_stays():
    dropped = drop()
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.7], rtol=1e-6)
    assert (dropped == 0).mean() == pytest.approx(0.3, abs=0.01)


def test_a_seed_and_a_place_decide_the_mask():
    np.testing.assert_array_equal(drop(), drop())
    for other in (drop(seed=(1, 5)), drop(seed=(4, 2)), drop(place=1)):
        # Independent masks agree in 0.3 * 0.3 + 0.7 * 0.7 of the entries.
        assert ((drop() == 0) == (other == 0)).mean() == pytest.approx(0.58, abs=0.02)


def test_the_seed_holds_inside_its_context_only():
    layer = Dropout(0.5)
    with step_seed(np.array([1, 2], "int32")):
        with step_seed(np.array([3, 4], "int32")):
            inner = ops.convert_to_numpy(layer(ONES, training=True))
        outer = ops.convert_to_numpy(layer(ONES, training=True))
    np.testing.assert_array_equal(inner, drop((3, 4), 0.5))
    np.testing.assert_array_equal(outer, drop((1, 2), 0.5))
    # Outside, two calls draw two masks.
    first, second = (ops.convert_to_numpy(layer(ONES, training=True)) for _ in range(2))
    assert (first != second).any()


def test_vectors_are_dropped_as_a_whole():
    x = drop(x=ONES.reshape(20, 100, 10), whole_vectors=True)
    assert (x == x[..., :1]).all()
    np.testing.assert_allclose(np.unique(x), [0, 1 / 0.7], rtol=1e-6)
    assert (x == 0).mean() == pytest.approx(0.3, abs=0.03)


def test_nothing_is_dropped_outside_training_or_at_rate_zero():
    with step_seed(np.array([1, 2], "int32")):
        np.testing.assert_array_equal(Dropout(0.9)(ONES), ONES)
        np.testing.assert_array_equal(Dropout(0.0)(ONES, training=True), ONES)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_a_rate_outside_zero_to_one_is_refused(rate):
    with pytest.raises(ValueError, match=r"dropout .* is not in \[0, 1\)"):
        Dropout(rate)
