"""Truth throughout: one tape over the logits of the whole batch."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.stepping import FAMILIES, ROWS, V, plan_of
from trainers import chunked_loss
from trainers.losses import CrossEntropy
from trainers.xla import kernel
from zoo import DecoderLM
from zoo.layers.fusion import fusing


class Tempered(DecoderLM):
    """Makes its logits in its own way, and says nothing of their parts."""

    def logits(self, hidden):
        return 0.5 * super().logits(hidden)


SEVERAL = 40  # tokens in a chunk: divides no batch here
MODELS = {
    **{name: FAMILIES[name] for name in ("lstm_lm", "decoder_lm", "encoder_decoder", "bigram")},
    "tied, soft cap": lambda: DecoderLM(V, 1, 16, 2, tie_embeddings=True, logit_soft_cap=2.0),
    "own logits": lambda: Tempered(V, 1, 16, 2),
}


def make(name):
    """(model with weights that matter, features of a batch)."""
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    for weight in model.weights:
        weight.assign(0.5 * keras.random.normal(weight.shape))
    return model, {k: tf.constant(x) for k, x in plan_of(name).batch(0).items()}


def plain(model, objective, features, state, scale=1.0, share=1.0):
    variables = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        hidden, state = model.hidden(features, state=state, training=True)
        logits = model.logits(hidden)
        value, nll = objective(logits, features["targets"], features["weights"])
        value *= scale
    gradients = tape.gradient(value, variables, unconnected_gradients="zero")
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    return [nll, tf.reduce_sum(features["weights"])], gradients, state


@pytest.fixture
def tokens_in_a_chunk(monkeypatch):
    def choose(tokens):
        monkeypatch.setattr(chunked_loss, "MOST_LOGITS", tokens * V)

    return choose


def assert_close(found, expected, tolerance=1e-6):
    """Each tensor to `tolerance` of the largest entry."""
    found, expected = tf.nest.flatten(found), tf.nest.flatten(expected)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        atol = tolerance * max(np.abs(other).max(), 1e-6)
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def both(name, xla=False, dynamic=False, objective=None, counted=None, **settings):
    """(what the chunks give, what the whole gives); with `counted`, where such a share counts."""
    model, features = make(name)
    if counted is not None:
        features["weights"] *= some(counted, features["weights"].shape)
    objective = objective or CrossEntropy()
    results = []
    for function in (chunked_loss.loss_and_gradients, plain):

        def run(features, state, function=function):
            return function(model, objective, features, state, **settings)

        signature = None
        state = model.initial_state(ROWS)
        if dynamic:
            signature = (
                {k: tf.TensorSpec([None, None], x.dtype) for k, x in features.items()},
                tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), state),
            )
        compiled = tf.function(run, input_signature=signature, jit_compile=xla)
        results.append(compiled(features, state))
    return results


@pytest.mark.parametrize("tokens", [1000, 48, SEVERAL], ids=["one", "even", "uneven"])
@pytest.mark.parametrize("name", MODELS)
def test_loss_gradients_and_state_are_those_of_the_whole(name, tokens, tokens_in_a_chunk):
    tokens_in_a_chunk(tokens)
    assert_close(*both(name))


@pytest.mark.parametrize("name, dynamic", [("lstm_lm", False), ("tied, soft cap", True)])
def test_so_they_are_by_xla(name, dynamic, tokens_in_a_chunk):
    tokens_in_a_chunk(SEVERAL)
    assert_close(*both(name, xla=True, dynamic=dynamic), tolerance=2e-6)


@pytest.mark.parametrize("name", MODELS)
def test_so_they_are_with_kernels(name, tokens_in_a_chunk):
    tokens_in_a_chunk(SEVERAL)
    _, expected = both(name, scale=2.0)
    with fusing(kernel):
        found, _ = both(name, scale=2.0)
    assert_close(found, expected, tolerance=5e-6)


@pytest.mark.parametrize("tokens", [1000, SEVERAL])
def test_so_they_are_where_shapes_are_known_only_when_it_runs(tokens, tokens_in_a_chunk):
    tokens_in_a_chunk(tokens)
    assert_close(*both("encoder_decoder", dynamic=True))


@pytest.mark.parametrize("settings", [{"label_smoothing": 0.2}, {"z_loss": 0.1}])
def test_so_they_are_with_every_term_of_the_objective(settings, tokens_in_a_chunk):
    tokens_in_a_chunk(SEVERAL)
    assert_close(*both("decoder_lm", objective=CrossEntropy(**settings)))


def some(share, shape):
    """float32: 1 for about this share of the entries."""
    return (np.random.default_rng(0).random(shape) < share).astype("float32")


@pytest.mark.parametrize(
    "there, told", [(0.1, 0.1), (0.1, 0.02), (1.0, 0.3), (0.1, 0.6), (0.0, 0.1)]
)
@pytest.mark.parametrize("name", MODELS)
def test_so_they_are_where_few_tokens_count(name, there, told):
    assert_close(*both(name, counted=there, share=told), tolerance=1e-5)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("xla", [False, True])
def test_so_they_are_of_any_shape_and_by_xla(dynamic, xla, tokens_in_a_chunk):
    tokens_in_a_chunk(SEVERAL)
    settings = {"counted": 0.3, "share": 0.1, "xla": xla, "dynamic": dynamic}
    assert_close(*both("tied, soft cap", **settings), tolerance=2e-6)


def test_what_nobody_reads_is_zero():
    model, _ = make("decoder_lm")
    hidden, counted = tf.random.normal((ROWS, 24, model.width)), some(0.2, (ROWS, 24)) > 0
    places = tf.reshape(tf.range(1, ROWS * 24 + 1), (ROWS, 24))

    def function(hidden, places):
        return tf.math.count_nonzero(places), places

    sums, found = chunked_loss.over_chunks(
        function, model, hidden, places, counted=counted, share=0.2
    )
    assert sums == counted.sum() == np.count_nonzero(found)
    np.testing.assert_array_equal(found, np.ravel(np.where(counted, places, 0)))


def test_a_scale_multiplies_the_gradients_and_not_the_loss(tokens_in_a_chunk):
    tokens_in_a_chunk(SEVERAL)
    (sums, gradients, _), _ = both("decoder_lm")
    (sums_of_scaled, scaled, _), _ = both("decoder_lm", scale=8.0)
    np.testing.assert_array_equal(sums, sums_of_scaled)
    assert_close(scaled, [8 * gradient for gradient in gradients])


def test_frozen_weights_get_no_gradient(tokens_in_a_chunk):
    tokens_in_a_chunk(SEVERAL)
    model, features = make("decoder_lm")
    model.embedding.trainable = False
    _, found, _ = chunked_loss.loss_and_gradients(model, CrossEntropy(), features, ())
    _, expected, _ = plain(model, CrossEntropy(), features, ())
    assert_close(found, expected)


@pytest.mark.parametrize("name", ["lstm_lm", "tied, soft cap"])
def test_bfloat16_agrees_to_its_bits(name, tokens_in_a_chunk):
    tokens_in_a_chunk(SEVERAL)
    keras.config.set_dtype_policy("mixed_bfloat16")
    found, expected = both(name)
    assert_close(found, expected, tolerance=2**-6)


def shapes(graph):
    """Of every tensor in a graph and in the functions that it calls."""
    for operation in graph.get_operations():
        yield from (output.shape for output in operation.outputs)
    for function in graph._functions.values():
        yield from shapes(function.graph)


def largest_of_vocabulary(function, **settings):
    """Tokens in the largest tensor [..., V] that a function makes."""
    model, features = make("decoder_lm")

    def run(features):
        return function(model, CrossEntropy(0.1, 0.1), features, (), **settings)

    graph = tf.function(run).get_concrete_function(features).graph
    known = [shape for shape in shapes(graph) if shape.rank and shape.is_fully_defined()]
    return max(shape.num_elements() // V for shape in known if shape[-1] == V and shape.rank > 1)


def test_no_tensor_has_the_logits_of_more_tokens_than_a_chunk(tokens_in_a_chunk):
    tokens_in_a_chunk(SEVERAL)
    assert largest_of_vocabulary(plain) == ROWS * 24
    assert largest_of_vocabulary(chunked_loss.loss_and_gradients) <= SEVERAL


def test_few_that_count_are_a_small_chunk():
    assert largest_of_vocabulary(chunked_loss.loss_and_gradients, share=0.2) == ROWS * 24 // 4 + 1


def test_what_fits_one_chunk_has_no_loop():
    model, features = make("decoder_lm")

    def run(features):
        return chunked_loss.loss_and_gradients(model, CrossEntropy(), features, ())

    graph = tf.function(run).get_concrete_function(features).graph
    assert not {"While", "StatelessWhile"} & {op.type for op in graph.get_operations()}


def test_a_chunk_waits_for_the_one_before(tokens_in_a_chunk):
    tokens_in_a_chunk(SEVERAL)
    model, _ = make("decoder_lm")
    places = tf.reshape(tf.range(ROWS * 24), (ROWS, 24))
    at_work, most = 0, 0

    def slow(places):
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        time.sleep(0.05)
        at_work -= 1
        return places

    def function(hidden, places):
        # Not stateful: a graph would put those in order by itself.
        result = tf.numpy_function(slow, [places], places.dtype, stateful=False)
        return tf.reduce_sum(result), tf.ensure_shape(result, places.shape)

    @tf.function
    def run(hidden, places):
        return chunked_loss.over_chunks(function, model, hidden, places)[1]

    found = run(tf.zeros((ROWS, 24, model.width)), places)
    np.testing.assert_array_equal(found, np.ravel(places))
    assert most == 1
