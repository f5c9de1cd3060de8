"""Matrices as decoding reads them: each output's weights together, and fewer bytes if wanted."""

import keras
import numpy as np
from keras import ops

from zoo.layers.rounding import GROUP, MOST, rounded

# The greatest whole number that a weight becomes; None for weights as they are.
KINDS = {"float32": None, "bfloat16": None, "int16": 32767, "int8": 127, "int4": MOST}
FEW = 128  # vectors, up to which a product takes less time with the matrix first


class Compact(keras.layers.Layer):
    """A matrix that is only read.

    A step of decoding is as fast as its weights are read. Products with one vector read rows
    fastest when they lie together, and XLA turns fewer bytes into float32 as it reads them.

    Args:
      matrix: [O, I], rows of which are the weights of an output.
      kind: "float32"; "bfloat16"; "int16" or "int8" with a scale for each row, so that its
        largest weight is the largest number (symmetric, round to nearest); "int4" with a scale for
        each 32 weights of a row, see `four_bits`.
      moments: of the inputs, see rounding.py; None where they are not known.

    Raises:
      ValueError: an unknown kind.
    """

    def __init__(self, matrix, kind, moments=None, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        if kind not in KINDS:
            raise ValueError(f"weights {kind!r} are none of {', '.join(map(repr, KINDS))}")
        matrix = np.asarray(ops.convert_to_numpy(matrix), "float32")
        self.scale = None
        self.width = matrix.shape[1]
        self.packed = kind == "int4"
        if self.packed:
            matrix, scale = four_bits(matrix, moments)
            self.scale, kind = self.weight("scale", scale, "float32"), "uint8"
        elif KINDS[kind]:
            scale = np.abs(matrix).max(axis=1) / KINDS[kind]
            matrix = np.rint(matrix / np.where(scale == 0, 1, scale)[:, None])
            self.scale = self.weight("scale", scale, "float32")
        # A stack of one: for one vector XLA then reads parts of the matrix on all cores.
        self.matrix = self.weight("matrix", matrix if self.packed else matrix[None], kind)
        self.built = True

    def weight(self, name, values, dtype):
        weight = self.add_weight(values.shape, "zeros", dtype, trainable=False, name=name)
        weight.assign(ops.cast(values, dtype))
        return weight

    def call(self, x):
        """[..., I] -> [..., O], the product with the matrix."""
        # What follows is for XLA on CPUs, where a step of decoding became twice as fast by it:
        # * a choice that is always made keeps it from computing x anew for each output;
        # * one keeps it from making float32 of the matrix before the loop of decoding, and
        #   reading four bytes for one in each step;
        # * the matrix comes first where vectors are few, for else it is transposed in each step;
        # * a factor keeps the addition of a bias out of the product, which then has all cores.
        here = always(x)
        x = ops.cond(here, lambda: x, lambda: ops.full_like(x, float("nan")))
        matrix, scale = self.matrix.value, ops.cast(here, x.dtype)
        if self.scale is not None:
            matrix = ops.where(here, matrix, ops.zeros_like(matrix))
            if not self.packed:
                scale = ops.cast(self.scale.value, x.dtype)
        if not self.packed:
            return product(ops.cast(matrix, x.dtype), x) * scale
        x = ops.pad(x, [[0, 0]] * (len(x.shape) - 1) + [[0, 2 * matrix.shape[1] - self.width]])
        weights, inputs = unpacked(matrix, self.scale.value), ops.split(x, 2, axis=-1)
        halves = zip(weights, inputs, strict=True)
        low, high = (ops.einsum("oi,...i->...o", ops.cast(w, x.dtype), part) for w, part in halves)
        return (low + high) * scale

    def rows(self, index):
        """int32 [...] -> float32 [..., I], the rows themselves."""
        if self.packed:
            packed, scale = (
                ops.take(part.value, index, axis=0) for part in (self.matrix, self.scale)
            )
            return ops.concatenate(unpacked(packed, scale), axis=-1)[..., : self.width]
        rows = ops.cast(ops.take(self.matrix.value[0], index, axis=0), "float32")
        return rows if self.scale is None else rows * ops.take(self.scale, index)[..., None]


def product(matrix, x):
    """[1, O, I], [..., I] -> [..., O], in the order that XLA is faster at."""

    def matrix_first():
        return ops.squeeze(ops.einsum("poi,...i->...po", matrix, x), axis=-2)

    def matrix_last():
        return ops.matmul(x, ops.transpose(matrix[0]))

    # Known when XLA compiles, which leaves the other one out.
    return ops.cond(ops.size(x) <= FEW * matrix.shape[2], matrix_first, matrix_last)


def four_bits(matrix, moments=None):
    """Weights as whole numbers from -7 to 7, and a scale for each group of them; see rounding.py.

    Args:
      matrix: float32 [O, I].
      moments: float [I, I] or None.

    Returns:
      (uint8 [O, J / 2], two numbers in each, of column j and of column j + J / 2, each plus 8;
      float32 [O, J / GROUP]), where J is I, rounded up to whole groups in each half.
    """
    more = -matrix.shape[1] % (2 * GROUP)
    if moments is not None:
        moments = np.pad(moments, [(0, more), (0, more)])
    numbers, scale = rounded(np.pad(matrix, [(0, 0), (0, more)]), moments)
    low, high = np.split((numbers + 8).astype("uint8"), 2, axis=1)
    return low | high << 4, scale


def unpacked(packed, scale):
    """The two halves of rows that `four_bits` packed, each float32 [..., J / 2]."""
    before, width = ops.shape(packed)[:-1], packed.shape[-1]

    def scaled(numbers, scales):
        groups = ops.reshape(ops.cast(numbers, "float32"), (*before, width // GROUP, GROUP))
        return ops.reshape((groups - 8.0) * scales[..., None], (*before, width))

    numbers = ops.bitwise_and(packed, 15), ops.bitwise_right_shift(packed, 4)
    return list(map(scaled, numbers, ops.split(scale, 2, axis=-1)))


def always(x):
    """bool scalar that no compiler knows to be True: it is False where all of x is no number."""
    return ops.any(x == x)


def forget(layer, *names):
    """Takes weights away from a layer, which would otherwise be saved with it."""
    layer._tracker.unlock()  # as Keras' own layers do when they are quantised
    for name in names:
        layer._untrack_variable(getattr(layer, name))
        # Not Keras' own, which looks through all of the process' objects each time.
        super(keras.layers.Layer, layer).__delattr__(name)
        setattr(layer, name, None)
