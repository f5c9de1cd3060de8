"""Tokens to vectors, and vectors back to logits, with one table or two."""

import keras
from keras import ops

from zoo.layers.compact import Compact, forget


class TokenEmbedding(keras.layers.Layer):
    """The table at a model's door and the softmax weights at its end.

    Args:
      vocabulary_size: rows V of the table.
      width: columns D.
      initializer: of the table.
      head_initializer: of separate softmax weights; None ties them to the table
        (Press and Wolf 2017).
      head_bias: adds a bias to the logits.
    """

    def __init__(
        self, vocabulary_size, width, initializer, head_initializer=None, head_bias=False, **kwargs
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        shape = (vocabulary_size, width)
        # No autocast: few rows are looked up, and the table is not cast whole for them.
        self.table = self.add_weight(shape, initializer, autocast=False, name="embedding")
        # Stored [V, D] as the table is, so that one row lies together when decoding reads it.
        self.head = None
        if head_initializer is not None:
            self.head = self.add_weight(
                shape, head_initializer, autocast=False, name="head_embedding"
            )
        self.bias = self.add_weight((vocabulary_size,), "zeros", name="bias") if head_bias else None
        self.compacted = None
        self.built = True

    def call(self, x, to_logits=False):
        """int32 [...] -> [..., D]; with `to_logits`, [..., D] -> [..., V], without the bias."""
        if to_logits:
            if self.compacted:
                return self.compacted[-1](x)
            weights = self.table if self.head is None else self.head
            return product_with_rows(x, ops.cast(weights, self.compute_dtype))
        if self.compacted:
            return self.compacted[0].rows(x)
        return ops.cast(ops.take(self.table, x, axis=0), self.compute_dtype)

    def compact(self, kind):
        """Keeps the table and the softmax weights as `Compact` of this kind."""
        names = ["table"] if self.head is None else ["table", "head"]
        compacted = [Compact(getattr(self, name), kind) for name in names]
        forget(self, *names)
        self.compacted = compacted


@ops.custom_gradient
def product_with_rows(x, matrix):
    """[..., D] times each row of a matrix [V, D]: [..., V].

    The gradient of the matrix comes as [V, D]. By itself it would be that of the transpose, [D, V]:
    a slower product in bfloat16, and transposed after.
    """

    def gradient(upstream):
        rows, of_rows = (ops.reshape(part, (-1, part.shape[-1])) for part in (x, upstream))
        return ops.matmul(upstream, matrix), ops.matmul(ops.transpose(of_rows), rows)

    return ops.matmul(x, ops.transpose(matrix)), gradient
