"""Matrices as decoding reads them: each output's weights together, and fewer bytes if wanted."""

import keras
import numpy as np
from keras import ops

# The greatest whole number that a weight becomes; None for weights as they are.
KINDS = {"float32": None, "bfloat16": None, "int16": 32767, "int8": 127}


class Compact(keras.layers.Layer):
    """A matrix that is only read.

    A step of decoding is as fast as its weights are read. Products with one vector read rows
    fastest when they lie together, and XLA turns fewer bytes into float32 as it reads them.

    Args:
      matrix: [O, I], rows of which are the weights of an output.
      kind: "float32"; "bfloat16"; "int16" or "int8" with a scale for each row, so that its
        largest weight is the largest number (symmetric, round to nearest).

    Raises:
      ValueError: an unknown kind.
    """

    def __init__(self, matrix, kind, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        if kind not in KINDS:
            raise ValueError(f"weights {kind!r} are none of {', '.join(map(repr, KINDS))}")
        matrix = np.asarray(ops.convert_to_numpy(matrix), "float32")
        self.scale = None
        if KINDS[kind]:
            scale = np.abs(matrix).max(axis=1) / KINDS[kind]
            matrix = np.rint(matrix / np.where(scale == 0, 1, scale)[:, None])
            self.scale = self.weight("scale", scale, "float32")
        self.matrix = self.weight("matrix", matrix, kind)
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
        # * the matrix comes first, for else it is transposed in each step;
        # * a factor keeps the addition of a bias out of the product, which then has all cores.
        here = always(x)
        x = ops.cond(here, lambda: x, lambda: ops.full_like(x, float("nan")))
        matrix, scale = self.matrix.value, ops.cast(here, x.dtype)
        if self.scale is not None:
            matrix = ops.where(here, matrix, ops.zeros_like(matrix))
            scale = ops.cast(self.scale.value, x.dtype)
        return ops.einsum("oi,...i->...o", ops.cast(matrix, x.dtype), x) * scale

    def rows(self, index):
        """int32 [...] -> float32 [..., I], the rows themselves."""
        rows = ops.cast(ops.take(self.matrix.value, index, axis=0), "float32")
        return rows if self.scale is None else rows * ops.take(self.scale, index)[..., None]


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
