"""What a token's vector takes over from the tokens just before it."""

import keras
from keras import ops


class ShortConvolution(keras.layers.Layer):
    """Adds to each vector the few before it, every channel by weights of its own.

    A causal depthwise convolution with a residual (Allen-Zhu 2025, Physics of Language Models 4.1:
    "canon layers"). It begins as the identity. With it a network need not learn to look one token
    back, which attention is slow to do.

    Args:
      width: D.
      size: tokens that a vector comes of, its own included; at least 2.
    """

    def __init__(self, width, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.taps = self.add_weight((size - 1, width), "zeros", name="taps")
        self.built = True

    def call(self, x, before, positions):
        """[B, T, D] -> [B, T, D]

        Args:
          before: [B, size - 1, D], the vectors in front of the first; None where there are none.
          positions: int32 [B, T], of each token in its text, from 0: no text looks into another.
        """
        length = ops.shape(x)[1]
        reach = self.size - 1
        if before is None:
            row = ops.pad(x, [[0, 0], [reach, 0], [0, 0]])
        else:
            row = ops.concatenate([before, x], axis=1)
        taps = ops.cast(self.taps, x.dtype)
        for back in range(1, self.size):
            earlier = row[:, reach - back : reach - back + length]
            held = ops.cast(positions >= back, x.dtype)[:, :, None]
            x = x + taps[back - 1] * held * earlier
        return x
