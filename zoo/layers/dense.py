"""Keras' Dense with our initialisation, which can be made compact for decoding."""

import keras
from keras import ops

from zoo.layers import initializers
from zoo.layers.compact import Compact, forget


class Dense(keras.layers.Dense):
    compacted = None

    def call(self, x, training=None):
        if self.compacted is None:
            return super().call(x, training=training)
        y = self.compacted(x)
        return y if self.bias is None else y + self.bias

    def compact(self, kind):
        """Keeps the kernel as a `Compact` of this kind; there is no training it any more."""
        compacted = Compact(ops.transpose(self.kernel), kind)
        forget(self, "_kernel")
        self.compacted = compacted


def dense(input_width, output_width, use_bias, scale=1.0, name=None):
    """A built Dense."""
    layer = Dense(
        output_width,
        use_bias=use_bias,
        kernel_initializer=initializers.fan_in(scale),
        name=name,
    )
    layer.build((None, input_width))
    return layer
