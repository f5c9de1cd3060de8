"""Logits and gradients of the models in these tests, to compare between backends.

KERAS_BACKEND=jax python -m tests.zoo.numbers FILE.npz
"""

import sys

import numpy as np
from keras import ops

from tests.zoo.gradients import weight_gradients
from tests.zoo.models import MODELS, example, logits_of, make

# Of each family.
WITH_GRADIENTS = ("lstm", "modern", "convolution", "translation_t5", "rematerialised")


def numbers():
    """{model: logits} and {model/weight: gradient}."""
    found = {}
    for name in MODELS:
        model = make(name)
        features = example(model, 8, rows=2)
        found[name] = logits_of(model, features)
    for name in WITH_GRADIENTS:
        model = make(name, dropout=0.0)  # backends draw different masks
        features = example(model, 8, rows=2)

        def loss(model=model, features=features):
            return ops.mean(ops.square(model(features, training=True)))

        for path, gradient in weight_gradients(model, loss):
            found[f"{name}/{path}"] = gradient
    return found


if __name__ == "__main__":
    np.savez(sys.argv[1], **numbers())
