"""Dropout whose masks can be a function of a seed handed in, not of a hidden counter."""

import contextlib

import keras
from keras import ops

_step_seed = None


@contextlib.contextmanager
def step_seed(seed):
    """Makes every Dropout called inside draw its mask from `seed` and its own place in the model.

    A trainer that passes hash(run seed, step, replica) has nothing about
    randomness to keep in a checkpoint, and replicas draw different masks.
    Outside, Dropout draws from a Keras SeedGenerator as any Keras layer does.

    Args:
      seed: int32 tensor [2].
    """
    global _step_seed
    outer, _step_seed = _step_seed, seed
    try:
        yield
    finally:
        _step_seed = outer


def current_seed():
    """The seed of the `step_seed` around, or None."""
    return _step_seed


class PlacedSeed(keras.random.SeedGenerator):
    """Draws from the seed of the `step_seed` around and from a place of its own in the model.

    Outside of `step_seed` a SeedGenerator as any other.

    Args:
      place: int, distinguishes this generator's seeds from those of the model's others.
    """

    def __init__(self, place):
        super().__init__(place)
        self.place = place

    def next(self, ordered=True):
        if _step_seed is None:
            return super().next(ordered)
        seed = _step_seed + ops.convert_to_tensor([0, self.place], "int32")
        return ops.cast(seed, "uint32" if keras.backend.backend() == "jax" else "int32")


class Dropout(keras.layers.Layer):
    """Zeroes entries with probability `rate` and scales the rest (Srivastava et al. 2014).

    Args:
      rate: probability in [0, 1).
      place: int, distinguishes this layer's masks from those of the model's other layers.
      whole_vectors: an entry is a vector of the last axis rather than a number.
    """

    def __init__(self, rate, place=0, whole_vectors=False, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"dropout {rate} is not in [0, 1)")
        self.rate = rate
        self.generator = PlacedSeed(place) if rate else None
        self.whole_vectors = whole_vectors
        self.built = True

    def call(self, x, training=False):
        if not self.rate or not training:
            return x
        shape = (*ops.shape(x)[:-1], 1) if self.whole_vectors else None
        return keras.random.dropout(x, self.rate, noise_shape=shape, seed=self.generator)


def draw_by_step_seed(model):
    """Lets Keras' own dropout layers in a model draw as `Dropout` does, numbered as they come."""
    layers = [x for x in model._flatten_layers() if isinstance(x, keras.layers.Dropout) and x.rate]
    for place, layer in enumerate(layers):
        # Keras lets nothing be set that has a state of its own once a layer is built.
        vars(layer)["seed_generator"] = PlacedSeed(place)
