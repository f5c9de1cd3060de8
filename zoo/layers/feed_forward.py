"""The position-wise network of a Transformer block, plain or gated."""

import functools

import keras
from keras import ops

from zoo.layers.dense import dense
from zoo.layers.fusion import fuse


def squared_relu(x):
    """ReLU squared (So et al. 2021, Primer)."""
    return ops.square(ops.relu(x))


ACTIVATIONS = {
    "relu": ops.relu,
    "gelu": ops.gelu,  # the tanh approximation, as in GPT-2
    "exact_gelu": functools.partial(ops.gelu, approximate=False),
    "silu": ops.silu,
    "squared_relu": squared_relu,
    "swiglu": ops.silu,
    "geglu": ops.gelu,
}
GATED = ("swiglu", "geglu")


class FeedForward(keras.layers.Layer):
    """down(activation(up(x))), or down(activation(gate(x)) * up(x)) (Shazeer 2020).

    Args:
      width: of input and output.
      hidden_width: of the activation.
      activation: "relu", "gelu", "exact_gelu", "silu", "squared_relu", or gated "swiglu", "geglu".
      use_bias: adds biases to the projections.
      output_scale: initial scale of the last projection.
    """

    def __init__(self, width, hidden_width, activation, use_bias, output_scale, **kwargs):
        super().__init__(**kwargs)
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation {activation!r} is none of {', '.join(map(repr, ACTIVATIONS))}"
            )
        self.activation = activation
        up_width = 2 * hidden_width if activation in GATED else hidden_width
        self.up = dense(width, up_width, use_bias, name="up")
        self.down = dense(hidden_width, width, use_bias, output_scale, name="down")
        self.built = True

    def call(self, x):
        hidden = fuse(activate, self.up.product(x), self.up.bias, activation=self.activation)
        return self.down(hidden)


def activate(x, bias=None, *, activation):
    """x [..., H] -> [..., H], or [..., H / 2] where the first half gates the second."""
    x = x if bias is None else x + bias
    if activation in GATED:
        gate, x = ops.split(x, 2, axis=-1)
        return ACTIVATIONS[activation](gate) * x
    return ACTIVATIONS[activation](x)
