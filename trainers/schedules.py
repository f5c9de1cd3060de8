"""Learning rate as a function of the optimizer's step; each schedule is one expression.

A schedule here is a function that `train` calls with the run's length, so that
a recipe says `train.schedule = @warmup_cosine` and never repeats STEPS.
"""

import math

import gin
import keras
from keras import ops


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A Keras schedule from a function of the step (float32 scalar) to the rate.

    It has no `get_config`: how it came about stands in the run's config.gin.
    """

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        return ops.cast(self.rate(ops.cast(step, "float32")), "float32")


@gin.configurable
def constant(steps: int, steps_per_epoch: float, peak: float, warmup_steps: int = 0):
    """`peak` after a linear warm-up."""
    return Schedule(lambda step: peak * warmup(step, warmup_steps))


@gin.configurable
def warmup_cosine(
    steps: int, steps_per_epoch: float, peak: float, warmup_steps: int = 0, final: float = 0.0
):
    """Linear warm-up, then half a cosine from `peak` to `final * peak` (Loshchilov and Hutter 2017)."""

    def rate(step):
        done = fraction(step, warmup_steps, steps)
        return (
            peak
            * warmup(step, warmup_steps)
            * (final + (1 - final) * 0.5 * (1 + ops.cos(math.pi * done)))
        )

    return Schedule(rate)


@gin.configurable
def warmup_linear(
    steps: int, steps_per_epoch: float, peak: float, warmup_steps: int = 0, final: float = 0.0
):
    """Linear warm-up, then a straight line from `peak` to `final * peak`."""

    def rate(step):
        done = fraction(step, warmup_steps, steps)
        return peak * warmup(step, warmup_steps) * (1 - (1 - final) * done)

    return Schedule(rate)


@gin.configurable
def warmup_stable_decay(
    steps: int,
    steps_per_epoch: float,
    peak: float,
    warmup_steps: int = 0,
    decay_fraction: float = 0.2,
    final: float = 0.0,
):
    """Warm-up, a plateau, and a straight line down over the last `decay_fraction` (WSD, Hu et al. 2024)."""

    def rate(step):
        done = fraction(step, (1 - decay_fraction) * steps, steps)
        return peak * warmup(step, warmup_steps) * (1 - (1 - final) * done)

    return Schedule(rate)


@gin.configurable
def inverse_square_root(steps: int, steps_per_epoch: float, peak: float, warmup_steps: int = 1):
    """Linear warm-up to `peak`, then peak * sqrt(warmup_steps / step) (Vaswani et al. 2017, 5.3)."""

    def rate(step):
        turn = max(warmup_steps, 1)
        return peak * ops.minimum((step + 1) / turn, ops.sqrt(turn / (step + 1)))

    return Schedule(rate)


@gin.configurable
def step_decay(
    steps: int, steps_per_epoch: float, peak: float, decay: float = 0.5, constant_epochs: int = 4
):
    """`peak` for `constant_epochs` epochs, then times `decay` at each further one (Zaremba et al. 2014)."""

    def rate(step):
        # Half a step forward, so that rounding cannot put an epoch's first step before it.
        epoch = ops.floor((step + 0.5) / steps_per_epoch)
        return peak * ops.power(decay, ops.maximum(epoch - (constant_epochs - 1), 0.0))

    return Schedule(rate)


def warmup(step, warmup_steps):
    return ops.minimum((step + 1) / warmup_steps, 1.0) if warmup_steps else 1.0


def fraction(step, start, end):
    """How far `step` is from `start` to `end`, within 0 and 1."""
    return ops.clip((step - start) / max(end - start, 1), 0.0, 1.0)


def last_rate(optimizer):
    """The learning rate of the last step of a Keras optimizer, whose own attribute is of the next."""
    rate = optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return float(rate(ops.maximum(optimizer.iterations - 1, 0)))
    return float(optimizer.learning_rate)
