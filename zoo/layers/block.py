"""A Transformer block: attention, attention over a source where there is one, feed-forward."""

import keras
from keras import ops

from zoo.layers.dropout import Dropout, current_seed, step_seed
from zoo.layers.norms import EPSILON, norm


class Block(keras.layers.Layer):
    """Residual sublayers, normalised before (Xiong et al. 2020) or after (Vaswani et al. 2017).

    Args:
      width: of input and output.
      attention, feed_forward: the sublayers.
      cross_attention: a CrossAttention, or None.
      norm_kind, norm_epsilon: see `norms.norm`.
      norm_first: normalise a sublayer's input rather than the residual sum.
      dropout: rate on each sublayer's output.
      place: this block's number in the model.
    """

    def __init__(
        self,
        width,
        attention,
        feed_forward,
        cross_attention=None,
        norm_kind="layer",
        norm_epsilon=EPSILON,
        norm_first=True,
        dropout=0.0,
        place=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.norm_first = norm_first
        self.attention = attention
        self.attention_norm = norm(norm_kind, width, "attention_norm", norm_epsilon)
        self.cross_attention = cross_attention
        if cross_attention is not None:
            self.cross_norm = norm(norm_kind, width, "cross_norm", norm_epsilon)
        self.feed_forward = feed_forward
        self.feed_forward_norm = norm(norm_kind, width, "feed_forward_norm", norm_epsilon)
        self.dropouts = [Dropout(dropout, place=1 + 8 * place + i) for i in range(3)]
        self.built = True

    def call(
        self,
        x,
        mask,
        rotation=None,
        bias=None,
        source=None,
        source_mask=None,
        cache=None,
        training=False,
    ):
        """[B, T, width] -> [B, T, width], with `cache` also what is to be written into it.

        Args:
          mask, rotation, bias, cache: see `Attention.call`.
          source: what `CrossAttention.project` returned, with its mask [B, 1, T, S].
        """

        def attention(x):
            if cache is None:
                return self.attention(x, mask, rotation, bias), None
            return self.attention(x, mask, rotation, bias, cache)

        def cross_attention(x):
            return self.cross_attention(x, source, source_mask), None

        def feed_forward(x):
            return self.feed_forward(x), None

        x, new = self.residual(x, attention, self.attention_norm, 0, training)
        if self.cross_attention is not None:
            x, _ = self.residual(x, cross_attention, self.cross_norm, 1, training)
        x, _ = self.residual(x, feed_forward, self.feed_forward_norm, 2, training)
        return x if cache is None else (x, new)

    def rematerialised(self, x, *options, training=True):
        """As `call` without a cache; only the inputs are kept for the gradient, and the rest is
        computed once more (Chen et al. 2016)."""
        weights = self.trainable_variables
        seed = current_seed()
        if seed is None and self.dropouts[0].rate:  # the same masks both times
            seed = ops.cast(self.dropouts[0].generator.next(), "int32")

        # TensorFlow takes floating tensors alone for arguments, and has no gradient for others.
        arguments = [x, *options, [weight.value for weight in weights]]
        leaves = keras.tree.flatten(arguments)
        floating = [i for i, leaf in enumerate(leaves) if is_floating(leaf)]

        def compute(*values):
            given = list(leaves)
            for i, value in zip(floating, values, strict=True):
                given[i] = value
            *inputs, values = keras.tree.pack_sequence_as(arguments, given)
            with keras.StatelessScope(list(zip(weights, values, strict=True))), step_seed(seed):
                return self(*inputs, training=training)

        return keras.remat(compute)(*(leaves[i] for i in floating))

    def residual(self, x, sublayer, normalise, i, training):
        y, extra = sublayer(normalise(x) if self.norm_first else x)
        x = x + self.dropouts[i](y, training=training)
        return (x if self.norm_first else normalise(x)), extra


def is_floating(x):
    return x is not None and "float" in keras.backend.standardize_dtype(x.dtype)
