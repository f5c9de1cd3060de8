"""How weights start: one rule by fan-in, so that a model's width can change alone."""

import contextlib
import contextvars

import keras

SKIPPED = contextvars.ContextVar("skipped", default=False)


@contextlib.contextmanager
def skipped():
    """Weights of the models that are made meanwhile start as zeros: all of them are set later."""
    token = SKIPPED.set(True)
    try:
        yield
    finally:
        SKIPPED.reset(token)


def fan_in(scale=1.0):
    """Truncated normal of variance `scale**2 / fan_in` (LeCun et al. 1998, section 4.6).

    `scale` 0 gives zeros, as for the output projections of a residual block
    that is to start as the identity.
    """
    if scale == 0.0 or SKIPPED.get():
        return keras.initializers.Zeros()
    return keras.initializers.VarianceScaling(scale**2, "fan_in", "truncated_normal")


def normal(stddev):
    if SKIPPED.get():
        return keras.initializers.Zeros()
    return keras.initializers.RandomNormal(stddev=stddev)


def head(width, scale):
    """For softmax weights [V, width]: `fan_in` by `width`, or zeros for equal logits at first."""
    return normal(width**-0.5) if scale else keras.initializers.Zeros()
