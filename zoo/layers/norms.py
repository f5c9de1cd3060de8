"""Normalisation by name."""

import keras
from keras import ops

from zoo.layers.fusion import fuse

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
        layer = LayerNorm(epsilon=epsilon, name=name)
    elif kind == "rms":
        layer = RMSNorm(epsilon=epsilon, name=name)
    elif kind == "rms_without_gain":
        return RMSNormWithoutGain(epsilon, name=name)
    else:
        raise ValueError(f"norm {kind!r} is none of 'layer', 'rms', 'rms_without_gain'")
    layer.build((None, width))
    return layer


class LayerNorm(keras.layers.LayerNormalization):
    """Keras' own, `fuse`d."""

    def call(self, x):
        return fuse(ops.layer_normalization, x, self.gamma, self.beta, epsilon=self.epsilon)


class RMSNorm(keras.layers.RMSNormalization):
    """Keras' own, `fuse`d."""

    def call(self, x):
        return fuse(ops.rms_normalization, x, self.scale, epsilon=self.epsilon)


class RMSNormWithoutGain(keras.layers.Layer):
    """x / rms(x) over the last axis, in float32."""

    def __init__(self, epsilon=EPSILON, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.built = True

    def call(self, x):
        return fuse(ops.rms_normalization, x, epsilon=self.epsilon)
