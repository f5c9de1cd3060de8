"""Truth throughout: the same model without recomputing."""

import re

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


def logits_and_gradients(model, xla=False):
    features = {k: tf.constant(x) for k, x in example(model, 8, rows=2).items()}
    variables = [variable.value for variable in model.trainable_variables]

    def run(features, seed):
        with tf.GradientTape() as tape:
            with step_seed(seed):  # and not around the backward pass
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


@pytest.mark.parametrize("name, dropout", [*((name, 0.5) for name in NAMES), ("modern", 0.0)])
def test_logits_and_gradients_are_those_without(name, dropout):
    plain, recomputed = pair(name, dropout)
    assert_equal(logits_and_gradients(recomputed), logits_and_gradients(plain))


def test_so_they_are_by_xla():
    plain, recomputed = pair("modern", 0.5)
    assert_equal(logits_and_gradients(recomputed, xla=True), logits_and_gradients(plain, xla=True))


def test_without_a_step_seed_masks_are_the_same_in_both_passes_and_new_in_every_call():
    # Truth: differences of the loss along a direction, dropout's generator set back each time.
    block = pair("modern", 0.5)[1].blocks[0]
    generator = np.random.default_rng(0)
    x, direction = generator.normal(size=(2, 1, 4, 16)).astype("float32")
    state = block.dropouts[0].generator.state
    before = state.numpy()

    def run(x):
        return block.rematerialised(x, np.ones((1, 1, 4, 4), bool))

    def loss(x):
        state.assign(before)
        return tf.reduce_sum(tf.sin(run(x)))

    x = tf.constant(x)
    assert np.abs(run(x) - run(x)).max() > 0.1
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = loss(x)
    slope = tf.reduce_sum(tape.gradient(found, x) * direction)
    step = 1e-2
    expected = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=0.02)


def products(model):
    """Matrix products in the program that XLA makes of a gradient."""
    features = {k: tf.constant(x) for k, x in example(model, 8, rows=2).items()}
    variables = [variable.value for variable in model.trainable_variables]

    def run(features):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(features, training=True)))
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]

    program = tf.function(run, jit_compile=True).experimental_get_compiler_ir(features)
    return len(re.findall(r" dot\(", program(stage="optimized_hlo")))


def test_xla_does_not_find_out_that_it_computes_the_same_twice():
    plain, recomputed = pair("modern", 0.0)
    # Of a block's six products the last, into the residual stream, is not needed again.
    assert products(recomputed) == products(plain) + 5


def test_blocks_are_computed_once_where_nothing_is_trained():
    plain, recomputed = pair("modern", 0.5)
    features = example(plain, 8)
    np.testing.assert_array_equal(plain(features), recomputed(features))
