"""Matrices as decoding reads them: each output's weights together, and fewer bytes if wanted."""

import keras
import numpy as np
from keras import ops

KINDS = ("float32", "bfloat16", "int8")


class Compact(keras.layers.Layer):
    """A matrix that is only read.

    A step of decoding is as fast as its weights are read. Products with one vector read rows
    fastest when they lie together, and XLA turns bfloat16 and int8 into float32 as it reads them.

    Args:
      matrix: [O, I], rows of which are the weights of an output.
      kind: "float32", "bfloat16", or "int8" with a scale for each row, so that its largest
        weight is 127 (symmetric, round to nearest).

    Raises:
      ValueError: an unknown kind.
    """

    def __init__(self, matrix, kind, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        if kind not in KINDS:
            raise ValueError(f"weights {kind!r} are none of {', '.join(map(repr, KINDS))}")
        matrix = np.asarray(ops.convert_to_numpy(matrix), "float32")
        self.scale = None
        if kind == "int8":
            scale = np.abs(matrix).max(axis=1) / 127
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
        # The matrix first: else XLA transposes it, at every step of a loop.
        y = ops.einsum("oi,...i->...o", ops.cast(self.matrix.value, x.dtype), x)
        return y if self.scale is None else y * ops.cast(self.scale.value, x.dtype)

    def rows(self, index):
        """int32 [...] -> float32 [..., I], the rows themselves."""
        rows = ops.cast(ops.take(self.matrix.value, index, axis=0), "float32")
        return rows if self.scale is None else rows * ops.take(self.scale, index)[..., None]


def forget(layer, *names):
    """Takes weights away from a layer, which would otherwise be saved with it."""
    layer._tracker.unlock()  # as Keras' own layers do when they are quantised
    for name in names:
        layer._untrack_variable(getattr(layer, name))
        delattr(layer, name)
        setattr(layer, name, None)
    layer._tracker.lock()
