import numpy as np

from zoo.layers.convolution import ShortConvolution

WIDTH, SIZE = 5, 3


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def layer():
    made = ShortConvolution(WIDTH, SIZE)
    made.taps.assign(normal(SIZE - 1, WIDTH, seed=1))
    return made


def test_it_begins_as_the_identity():
    x = normal(2, 4, WIDTH)
    positions = np.tile(np.arange(4, dtype="int32"), (2, 1))
    np.testing.assert_array_equal(ShortConvolution(WIDTH, SIZE)(x, None, positions), x)


def test_each_channel_is_a_sum_of_its_own_last_values():
    x, convolve = normal(2, 6, WIDTH), layer()
    positions = np.array([[0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 2, 0]], "int32")  # three texts in a row
    taps, expected = np.asarray(convolve.taps), x.copy()
    for row, place in np.ndindex(2, 6):
        for back in range(1, min(positions[row, place], SIZE - 1) + 1):
            expected[row, place] += taps[back - 1] * x[row, place - back]
    np.testing.assert_allclose(convolve(x, None, positions), expected, atol=1e-6)


def test_a_row_in_pieces_is_the_row_whole():
    x, convolve = normal(2, 7, WIDTH), layer()
    positions = np.tile(np.arange(7, dtype="int32"), (2, 1))
    whole = convolve(x, None, positions)
    last, pieces = np.zeros((2, SIZE - 1, WIDTH), "float32"), []
    for begin, end in ((0, 1), (1, 2), (2, 5), (5, 7)):
        pieces.append(convolve(x[:, begin:end], last, positions[:, begin:end]))
        last = np.concatenate([last, x[:, begin:end]], axis=1)[:, 1 - SIZE :]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=1e-6)
