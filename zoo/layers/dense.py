"""Keras' Dense with our initialisation; low-rank updates, and a compact form for decoding."""

import keras
from keras import ops

from zoo.layers import initializers
from zoo.layers.compact import Compact, forget


class Dense(keras.layers.Dense):
    compacted = None
    moments = None  # of the inputs, while a model observes them; see rounding.py

    def call(self, x):
        y = self.product(x)
        return y if self.bias is None else y + self.bias

    def product(self, x):
        """Without the bias."""
        if self.moments is not None:
            rows = ops.convert_to_numpy(ops.reshape(x, (-1, x.shape[-1]))).astype("float64")
            self.moments = self.moments + rows.T @ rows
        y = self.compacted(x) if self.compacted else ops.matmul(x, self._kernel)
        if self.lora_enabled:
            # Not Keras' sum of matrices, whose gradient is as large as that of the matrix.
            low = ops.matmul(x, ops.cast(self.lora_kernel_a, x.dtype))
            update = ops.matmul(low, ops.cast(self.lora_kernel_b, x.dtype))
            y = y + self.lora_alpha / self.lora_rank * update
        return y

    def compact(self, kind):
        """Keeps the kernel as a `Compact` of this kind; there is no training it any more."""
        merge_lora(self)
        compacted = Compact(ops.transpose(self.kernel), kind, self.moments)
        self.moments = None
        forget(self, "_kernel")
        self.compacted = compacted


def merge_lora(layer):
    """Adds a low-rank update to the kernel of a layer of Keras, for good."""
    if layer.lora_enabled:
        layer._kernel.assign(layer.kernel)
        forget(layer, "lora_kernel_a", "lora_kernel_b")
        layer.lora_enabled = False


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
