"""LSTM layer whose matrix products over a whole window stay outside the recurrence."""

import keras
from keras import ops

from zoo.layers.compact import Compact, forget
from zoo.layers.fusion import fuse

# Widths up to which a step is more operations than product, and the loop faster as one kernel: at
# 20 rows of 128 by 0.3, of 200 by 0.25, of 300 by 0.05; of 400 it takes 1.2 times as long.
NARROW = 256


class LSTM(keras.layers.Layer):
    """One layer (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    Args:
      input_width, width: of the input and of the state.
      initial_scale: weights start uniform in +- this.
    """

    def __init__(self, input_width, width, initial_scale, **kwargs):
        # No autocast: the state's cell stays float32 whatever the compute dtype.
        super().__init__(autocast=False, **kwargs)
        self.width = width
        uniform = keras.initializers.RandomUniform(-initial_scale, initial_scale)
        self.kernel = self.add_weight((input_width, 4 * width), uniform, name="kernel")
        self.recurrent = self.add_weight((width, 4 * width), uniform, name="recurrent")
        self.bias = self.add_weight((4 * width,), "zeros", name="bias")
        self.compacted = None
        self.built = True

    def initial_state(self, batch_size):
        """{"output": [B, width] in the compute dtype, "cell": [B, width] float32}, zeros."""
        return {
            "output": ops.zeros((batch_size, self.width), self.compute_dtype),
            "cell": ops.zeros((batch_size, self.width), "float32"),
        }

    def call(self, x, keep, state, training=False):
        """Runs over a window, time first.

        Args:
          x: [T, B, input_width].
          keep: [T, B, 1], 0 where the state is forgotten before the token is read, else 1.
          state: see `initial_state`.

        Returns:
          ([T, B, width], the state after the last token).
        """
        bias, x, keep, output = (
            ops.cast(part, self.compute_dtype) for part in (self.bias, x, keep, state["output"])
        )
        if self.compacted:
            kernel, recurrent = self.compacted
        else:
            kernel, recurrent = (
                ops.cast(part, self.compute_dtype) for part in (self.kernel, self.recurrent)
            )
        projected = product(x, kernel) + bias  # [T, B, 4 width]
        # Outside training the plain loop: nobody asks for its gradient, and weights may be compact.
        arguments = (projected, keep, recurrent, output, state["cell"])
        outputs, cells = recur(*arguments) if training else recurrence(*arguments)[:2]
        return outputs, {"output": outputs[-1], "cell": cells[-1]}

    def compact(self, kind):
        """Keeps both matrices as `Compact` of this kind; there is no training them any more."""
        compacted = [Compact(ops.transpose(part), kind) for part in (self.kernel, self.recurrent)]
        forget(self, "kernel", "recurrent")
        self.compacted = compacted


def product(x, matrix):
    """[..., I] times a matrix [I, O], or a `Compact` of it."""
    return matrix(x) if callable(matrix) else ops.matmul(x, matrix)


def gates(z):
    """Input, forget and output gates and the candidate, from their sums [B, 4 width], float32."""
    i, f, o, g = ops.split(ops.cast(z, "float32"), 4, axis=-1)
    return ops.sigmoid(i), ops.sigmoid(f), ops.sigmoid(o), ops.tanh(g)


def recurrence(projected, keep, recurrent, output, cell):
    """`recur` without its gradient; a third output is the gate sums [T, B, 4 width]."""
    dtype = projected.dtype

    def forward(carry, t):
        output, cell, _ = carry
        z = projected[t] + product(output * keep[t], recurrent)
        i, f, o, g = gates(z)
        cell = f * (cell * ops.cast(keep[t], "float32")) + i * g
        output = ops.cast(o * ops.tanh(cell), dtype)
        return (output, cell, z), (output, cell, z)

    # Over indices: Keras scans several arrays only where their length is static,
    # and that of a prompt in an exported graph is not.
    first = (output, cell, projected[0])
    times = ops.arange(ops.shape(projected)[0])
    return ops.scan(forward, first, times)[1]


def slopes(d_outputs, d_cells, sums, keep, cells, before, recurrent):
    """The recurrence backwards.

    Args:
      d_outputs, d_cells: gradients of what `recur` returns; sums, cells: of `recurrence`.
      before: cells one step earlier.

    Returns:
      gradients of the gate sums, of the first output and of the first cell.
    """

    def backward(carry, step):
        d_output, d_cell, _ = carry
        d_output_here, d_cell_here, z, keep, cell, cell_before = step
        wide_keep = ops.cast(keep, "float32")
        i, f, o, g = gates(z)
        squashed = ops.tanh(cell)
        d_output = ops.cast(d_output, "float32") + ops.cast(d_output_here, "float32")
        d_cell = d_cell + d_cell_here + d_output * o * (1 - squashed * squashed)
        d_z = ops.concatenate(
            [
                d_cell * g * i * (1 - i),
                d_cell * cell_before * wide_keep * f * (1 - f),
                d_output * squashed * o * (1 - o),
                d_cell * i * (1 - g * g),
            ],
            axis=-1,
        )
        d_z = ops.cast(d_z, sums.dtype)
        d_output = ops.matmul(d_z, ops.transpose(recurrent)) * keep
        carry = (d_output, d_cell * f * wide_keep, d_z)
        return carry, carry

    zero = tuple(ops.zeros_like(part[0]) for part in (d_outputs, cells, sums))
    steps = (d_outputs, d_cells, sums, keep, cells, before)
    (d_output, d_cell, _), (_, _, d_sums) = ops.scan(backward, zero, steps, reverse=True)
    return d_sums, d_output, d_cell


@ops.custom_gradient
def recur(projected, keep, recurrent, output, cell):
    """The recurrence, with a gradient whose loop yields only the gates' gradients.

    The gradients of `recurrent` and, outside, of the kernel and the input are then
    one matrix product each over all steps, instead of one a step: automatic
    differentiation would accumulate a [width, 4 width] matrix at every token.

    Args:
      projected: [T, B, 4 width], the input's part of the gate sums.
      keep: [T, B, 1].
      recurrent: [width, 4 width].
      output: [B, width]; cell: float32 [B, width]: the state before.

    Returns:
      outputs [T, B, width] and cells [T, B, width], float32.
    """
    loop = fuse if output.shape[-1] <= NARROW else call
    outputs, cells, sums = loop(recurrence, projected, keep, recurrent, output, cell)

    def gradient(*upstream):
        if len(upstream) == 1:  # JAX hands over the pair, TensorFlow its parts
            upstream = upstream[0]
        before = ops.concatenate([cell[None], cells[:-1]])
        d_sums, d_output, d_cell = loop(slopes, *upstream, sums, keep, cells, before, recurrent)
        earlier = ops.concatenate([output[None], outputs[:-1]]) * keep
        width = earlier.shape[-1]
        d_recurrent = ops.matmul(
            ops.transpose(ops.reshape(earlier, (-1, width))), ops.reshape(d_sums, (-1, 4 * width))
        )
        return d_sums, ops.zeros_like(keep), d_recurrent, d_output, d_cell

    return (outputs, cells), gradient


def call(function, *arrays):
    return function(*arrays)
