"""Truth throughout: the same model without recomputing."""

import keras
import numpy as np
import pytest

from tests.zoo.models import example, make

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

from zoo.layers.dropout import step_seed

NAMES = ["modern", "gpt2", "translation", "translation_t5"]
SEED = np.array([3, 4], "int32")


def pair(name, dropout):
    """(model, the same with its blocks recomputed)."""
    model = make(name, dropout)
    other = type(model).from_config(model.get_config() | {"rematerialise": True})
    other.set_weights(model.get_weights())
    return model, other


def logits_and_gradients(model, seeded=True, xla=False):
    features = {k: tf.constant(x) for k, x in example(model, 8, rows=2).items()}
    variables = [variable.value for variable in model.trainable_variables]

    def run(features, seed):
        with tf.GradientTape() as tape:
            if seeded:
                with step_seed(seed):
                    logits = model(features, training=True)
            else:
                logits = model(features, training=True)
            loss = tf.reduce_mean(tf.square(logits))
        gradients = tape.gradient(loss, variables)
        return logits, [tf.convert_to_tensor(gradient) for gradient in gradients]

    logits, gradients = tf.function(run, jit_compile=xla)(features, tf.constant(SEED))
    return logits.numpy(), [gradient.numpy() for gradient in gradients]


def assert_equal(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
    for one, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients_are_those_without(name, dropout):
    plain, recomputed = pair(name, dropout)
    assert_equal(logits_and_gradients(recomputed), logits_and_gradients(plain))


@pytest.mark.parametrize("name", ["modern", "translation_t5"])
def test_so_they_are_by_xla(name):
    plain, recomputed = pair(name, 0.5)
    assert_equal(logits_and_gradients(recomputed, xla=True), logits_and_gradients(plain, xla=True))
