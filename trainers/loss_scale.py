"""Loss scaling: keeps small gradients of float16 from becoming zero (Micikevicius et al. 2018)."""

import math

import tensorflow as tf

INITIAL = 2.0**15  # of a mean loss
LEAST = 2.0**-24
GROWTH_INTERVAL = 2000  # sound steps until it doubles, as NVIDIA's and PyTorch's scalers do


def make_loss_scale(compute_dtype, tokens):
    """What a model of this dtype needs.

    Args:
      compute_dtype: Keras' name.
      tokens: whose losses a micro-batch sums.
    """
    return DynamicScale(tokens) if compute_dtype == "float16" else NoScale()


class NoScale:
    """For dtypes whose exponents reach as far as float32's."""

    variables: list = []

    def read(self):
        return tf.constant(1.0)

    def report(self):
        return {}

    def guard(self, sums, update, skip):
        del sums, skip
        return update()


class DynamicScale:
    """Halves where a gradient is not finite, and leaves out that update; doubles in quiet times.

    It looks at the gradient summed over all replicas: either all of them update or none does.

    Args:
      tokens: the summed loss begins with the scale that suits its mean.

    Attributes:
      variables: float32 scale, int32 count of sound steps since it changed. Each worker keeps
        its own, which are equal as what they follow from is.
    """

    def __init__(self, tokens):
        initial = INITIAL / 2.0 ** math.ceil(math.log2(tokens))  # powers of 2 round nothing
        self.scale = tf.Variable(initial, trainable=False)
        self.sound_steps = tf.Variable(0, trainable=False)
        self.variables = [self.scale, self.sound_steps]

    def read(self):
        return self.scale.read_value()

    def report(self):
        return {"loss_scale": float(self.scale)}

    def guard(self, sums, update, skip):
        """update() or, where any of `sums` is not finite, skip()."""
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(each)) for each in sums])
        grown = finite & (self.sound_steps + 1 >= GROWTH_INTERVAL)
        result = tf.cond(finite, update, skip)
        factor = tf.where(finite, tf.where(grown, 2.0, 1.0), 0.5)
        self.scale.assign(tf.maximum(self.scale * factor, LEAST))
        self.sound_steps.assign(tf.where(finite & ~grown, self.sound_steps + 1, 0))
        return result
