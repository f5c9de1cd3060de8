import numpy as np

from trainers.data.merges import together


def test_a_merge_whose_piece_has_an_earlier_use_is_done_one_by_one():
    merges = np.array([[1, 2, 4], [4, 1, 5], [3, 3, 6], [2, 2, 4]])
    np.testing.assert_array_equal(together(merges, 7), [True, True, True, False, False])
