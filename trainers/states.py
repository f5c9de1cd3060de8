"""Decoding states as signatures pass them: flat dicts of tensors [B, ...], rows of which can join."""

import tensorflow as tf


class FlatStates:
    """Turns a nest into {"state_0": ..., "state_1": ...} and back.

    Args:
      nest: of tensors or their specs, as all that are to be turned.
    """

    def __init__(self, nest):
        self.nest = nest
        self.names = [f"state_{i}" for i in range(len(tf.nest.flatten(nest)))]

    def flat(self, nest):
        return dict(zip(self.names, tf.nest.flatten(nest), strict=True))

    def nested(self, flat):
        return tf.nest.pack_sequence_as(self.nest, [flat[name] for name in self.names])

    def specs(self, prefix=""):
        """What a signature takes: its input for each name has it behind `prefix`."""
        return {
            name: tf.TensorSpec(spec.shape, spec.dtype, name=prefix + name)
            for name, spec in self.flat(self.nest).items()
        }


def join(state, other, rows):
    """Puts all rows of one state in place of rows of another.

    Args:
      state, other: dicts of [B, ...] and [n, ...]; where they are of unequal size, both get
        the larger one, filled up with 0.
      rows: int32 [n], places in `state`.

    Returns:
      a dict of [B, ...].
    """

    def joined(state, other):
        shape = tf.maximum(tf.shape(state)[1:], tf.shape(other)[1:])
        state, other = filled_up(state, shape), filled_up(other, shape)
        return tf.cond(
            tf.size(other) > 0,  # TensorFlow writes nothing of nothing only with an error
            lambda: tf.tensor_scatter_nd_update(state, rows[:, None], other),
            lambda: state,
        )

    return {name: joined(state[name], other[name]) for name in state}


def filled_up(x, shape):
    """[n, ...] -> [n, *shape], 0 where there was nothing. Not copied where it has that shape."""
    more = tf.unstack(shape - tf.shape(x)[1:])
    padding = [[0, 0], *([0, its] for its in more)]
    return tf.cond(tf.reduce_any(tf.shape(x)[1:] < shape), lambda: tf.pad(x, padding), lambda: x)
