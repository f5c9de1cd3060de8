"""Normalisation by name: LayerNorm and RMSNorm come from Keras, the gainless RMSNorm from here."""

import keras
from keras import ops

EPSILON = 1e-5


def norm(kind, width, name=None, epsilon=EPSILON):
    """A built normalisation layer over the last axis.

    Args:
      kind: "layer" (Ba et al. 2016), "rms" (Zhang and Sennrich 2019) or
        "rms_without_gain", which has no weights.
      width: size of the last axis.
      epsilon: added to the mean of squares.

    Raises:
      ValueError: for another `kind`.
    """
    if kind == "layer":
        layer = keras.layers.LayerNormalization(epsilon=epsilon, name=name)
    elif kind == "rms":
        layer = keras.layers.RMSNormalization(epsilon=epsilon, name=name)
    elif kind == "rms_without_gain":
        return RMSNormWithoutGain(epsilon, name=name)
    else:
        raise ValueError(f"norm {kind!r} is none of 'layer', 'rms', 'rms_without_gain'")
    layer.build((None, width))
    return layer


class RMSNormWithoutGain(keras.layers.Layer):
    """x / rms(x) over the last axis, in float32."""

    def __init__(self, epsilon=EPSILON, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.built = True

    def call(self, x):
        wide = ops.cast(x, "float32")
        scale = ops.rsqrt(ops.mean(ops.square(wide), axis=-1, keepdims=True) + self.epsilon)
        return ops.cast(wide * scale, x.dtype)
