"""Where a token stands: learned and sinusoidal vectors, rotations, and T5's relative biases."""

import math

import keras
import numpy as np
from keras import ops

from zoo.layers import initializers
from zoo.layers.fusion import fuse

SCALINGS = (
    {"factor"},
    {"factor", "low_frequency_factor", "high_frequency_factor", "context_length"},
)
KINDS = ("learned", "sinusoidal", "rotary", "relative", "none")


def check(kind, width, head_width, context_length=None, scaling=None):
    """Raises ValueError for an unknown kind, or for one that does not fit the sizes."""
    if scaling is not None and set(scaling) not in SCALINGS:
        raise ValueError(
            f"rotary_scaling has {', '.join(scaling)}; it takes factor, alone or with "
            "low_frequency_factor, high_frequency_factor and context_length"
        )
    if kind not in KINDS:
        raise ValueError(f"positions {kind!r} is none of {', '.join(map(repr, KINDS))}")
    if kind == "learned" and not context_length:
        raise ValueError("learned positions need a context_length")
    if kind == "sinusoidal" and width % 2:
        raise ValueError(f"sinusoidal positions need an even width, not {width}")
    if kind == "rotary" and head_width % 2:
        raise ValueError(f"rotary positions need an even head width, not {head_width}")


def sinusoids(positions, width):
    """Sine and cosine of the position at `width` frequencies (Vaswani et al. 2017, section 3.5).

    Args:
      positions: int32 [B, T].
      width: even.

    Returns:
      float32 [B, T, width].
    """
    frequencies = ops.exp(ops.arange(0, width, 2, dtype="float32") * (-math.log(10000.0) / width))
    angles = ops.cast(positions, "float32")[..., None] * frequencies
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)


class LearnedPositions(keras.layers.Layer):
    """A vector for each position below `context_length`; later ones share the last."""

    def __init__(self, context_length, width, stddev, **kwargs):
        super().__init__(**kwargs)
        self.context_length = context_length
        self.table = self.add_weight(
            (context_length, width), initializers.normal(stddev), name="position_embedding"
        )
        self.built = True

    def call(self, positions):
        return ops.take(self.table, ops.minimum(positions, self.context_length - 1), axis=0)


def rotation(positions, head_width, base=10000.0, scaling=None):
    """The angles of rotary positions (Su et al. 2021), computed once for all layers.

    Args:
      positions: int32 [B, T].
      head_width: even; entries i and i + head_width / 2 turn together, as in Llama.
      base, scaling: see `frequencies`.

    Returns:
      (cosines, sines), each float32 [B, T, 1, head_width / 2].
    """
    turns = frequencies(head_width, base, scaling)
    angles = ops.cast(positions, "float32")[..., None, None] * ops.convert_to_tensor(turns)
    return ops.cos(angles), ops.sin(angles)


def frequencies(head_width, base, scaling=None):
    """How far each pair of entries turns a position, float32 [head_width / 2].

    Args:
      base: slowest rotation's wavelength over 2 pi.
      scaling: None, or a dict for texts longer than a model was trained on. {"factor"}: all turn so
        many times slower (Chen et al. 2023). With "low_frequency_factor", "high_frequency_factor" and
        "context_length" those do which turn less than the low factor times in that context, and
        none that turns more than the high factor times (Llama 3.1; Dubey et al. 2024).
    """
    half = head_width // 2
    turns = base ** (-np.arange(half, dtype="float32") / half)
    if scaling is None:
        return turns
    slower = turns / scaling["factor"]
    if len(scaling) == 1:
        return slower.astype("float32")
    low, high = scaling["low_frequency_factor"], scaling["high_frequency_factor"]
    in_context = turns * scaling["context_length"] / (2 * math.pi)
    kept = np.clip((in_context - low) / (high - low), 0, 1)
    return ((1 - kept) * slower + kept * turns).astype("float32")


def rotate(x, rotation):
    """Turns [B, T, H, D] by what `rotation` returned."""
    return fuse(rotated, x, *rotation)


def rotated(x, cosines, sines):
    cosines, sines = (ops.cast(part, x.dtype) for part in (cosines, sines))
    first, second = ops.split(x, 2, axis=-1)
    return ops.concatenate(
        [first * cosines - second * sines, second * cosines + first * sines], axis=-1
    )


class RelativeBias(keras.layers.Layer):
    """A learned bias a head by bucketed distance (Raffel et al. 2020, section 2.1).

    Half the buckets are exact distances, half grow logarithmically up to
    `max_distance`; with `bidirectional` half of all are for keys to the right.
    """

    def __init__(self, num_heads, bidirectional, num_buckets=32, max_distance=128, **kwargs):
        super().__init__(**kwargs)
        self.bidirectional = bidirectional
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.table = self.add_weight(
            (num_buckets, num_heads), initializers.normal(0.02), name="relative_embedding"
        )
        self.built = True

    def call(self, query_positions, key_positions):
        """int32 [B, T], [B, S] -> [B, H, T, S]."""
        distance = key_positions[:, None, :] - query_positions[:, :, None]
        biases = ops.take(self.table, self.buckets(distance), axis=0)
        return ops.transpose(biases, (0, 3, 1, 2))

    def buckets(self, distance):
        num_buckets, first = self.num_buckets, 0
        if self.bidirectional:
            num_buckets //= 2
            first = ops.where(distance > 0, num_buckets, 0)
            distance = ops.abs(distance)
        else:
            distance = ops.maximum(-distance, 0)
        exact = num_buckets // 2
        scaled = ops.log(ops.maximum(ops.cast(distance, "float32"), 1.0) / exact)
        steps = scaled / math.log(self.max_distance / exact) * (num_buckets - exact)
        far = ops.minimum(exact + ops.cast(steps, "int32"), num_buckets - 1)
        return first + ops.where(distance < exact, distance, far)
