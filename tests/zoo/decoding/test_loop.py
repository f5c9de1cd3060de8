import keras
import numpy as np
import pytest
from keras import ops

from zoo import LSTMLM, DecoderLM, EncoderDecoder
from zoo.decoding import loop, samplers

VOCABULARY_SIZE = 23
SOURCE = np.array([[5, 6, 7, 0], [8, 9, 0, 0], [3, 0, 0, 0]], "int32")
SOURCE_FEATURES = {"source": SOURCE, "source_segments": (SOURCE > 0).astype("int32")}
MODELS = {
    "decoder_lm": lambda: DecoderLM(VOCABULARY_SIZE, num_layers=2, width=16, num_kv_heads=2),
    "decoder_lm_window": lambda: DecoderLM(VOCABULARY_SIZE, num_layers=2, width=16, window=4),
    "decoder_lm_learned": lambda: DecoderLM(
        VOCABULARY_SIZE, num_layers=1, width=16, positions="learned", context_length=24
    ),
    "lstm_lm": lambda: LSTMLM(VOCABULARY_SIZE, width=16),
    "encoder_decoder": lambda: EncoderDecoder(VOCABULARY_SIZE, num_layers=2, width=16),
    "encoder_decoder_relative": lambda: EncoderDecoder(
        VOCABULARY_SIZE, num_layers=1, width=16, positions="relative"
    ),
}


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    keras.utils.set_random_seed(0)
    model = MODELS[request.param]()
    for weight in model.weights:  # far from uniform, so that tokens differ
        weight.assign(0.5 * keras.random.normal(weight.shape))
    return model


def greedy(logits, count):
    # Never the end, so that lengths are the limits'.
    return samplers.greedy(logits[:, 1:]) + 1


def source_features(model, rows):
    if not model.reads_source:
        return {}
    return {name: feature[rows] for name, feature in SOURCE_FEATURES.items()}


def decode(model, prompts, features, limits, sample=greedy, pieces=None):
    limits = ops.convert_to_tensor(limits, "int32")
    carry = loop.begin(model, ops.convert_to_tensor(prompts, "int32"), limits, 8, features)
    for max_steps in pieces or [None]:
        carry = loop.advance(model, carry, sample, max_steps)
    return carry


def teacher_forced(model, prompt, tokens, features):
    """Log-probabilities [T, V] with everything read at once."""
    inputs = np.array([[*prompt, *tokens[:-1]]], "int32")
    logits = model({"inputs": inputs, **features})
    return np.asarray(ops.log_softmax(logits))[0, -len(tokens) :]


def test_greedy_tokens_are_the_likeliest_of_a_model_that_reads_everything_at_once(model):
    prompt, features = [0, 4, 9], source_features(model, slice(1))
    carry = decode(model, [prompt], features, [6])
    tokens = np.asarray(carry["tokens"])[0, :6]
    expected = teacher_forced(model, prompt, tokens, features)
    np.testing.assert_array_equal(tokens, expected[:, 1:].argmax(-1) + 1)
    np.testing.assert_allclose(
        carry["log_probabilities"][0], expected[np.arange(6), tokens].sum(), atol=1e-4
    )


def test_left_padded_prompts_get_what_each_gets_alone(model):
    prompts = [[0, 4, 9, 2, 7], [0, 3], [0]]
    padding = np.array([0, 3, 4], "int32")
    padded = [[0] * places + prompt for places, prompt in zip(padding, prompts, strict=True)]
    features = {"padding": padding, **source_features(model, slice(3))}
    together = decode(model, padded, features, [6, 6, 6])
    for row, prompt in enumerate(prompts):
        alone = decode(model, [prompt], source_features(model, slice(row, row + 1)), [6])
        np.testing.assert_array_equal(together["tokens"][row], alone["tokens"][0])
        np.testing.assert_allclose(
            together["log_probabilities"][row], alone["log_probabilities"][0], atol=1e-4
        )


def test_advancing_in_pieces_is_advancing_at_once(model):
    def sample(logits, count):
        return samplers.sample(logits, 1.0, 5, 0.9, ops.stack([7, count]))

    prompts, features = [[0, 4], [0, 5]], source_features(model, slice(2))
    at_once = decode(model, prompts, features, [8, 8], sample)
    in_pieces = decode(model, prompts, features, [8, 8], sample, pieces=[1, 3, 0, 9, 1])
    np.testing.assert_array_equal(at_once["tokens"], in_pieces["tokens"])
    np.testing.assert_allclose(
        at_once["log_probabilities"], in_pieces["log_probabilities"], atol=1e-5
    )


def test_rows_end_at_their_limit_or_at_the_end_token_and_the_loop_with_the_last():
    model = MODELS["lstm_lm"]()

    def sample(logits, count):  # the second row ends after two tokens
        return ops.where(ops.logical_and(ops.arange(4) == 1, count == 2), 0, 5 + count)

    carry = decode(model, [[0, 1]] * 4, {}, [1, 8, 4, 0], sample)
    expected = [[5, 0, 0, 0], [5, 6, 0, 0], [5, 6, 7, 8], [0, 0, 0, 0]]
    np.testing.assert_array_equal(carry["tokens"][:, :4], expected)
    assert not np.any(carry["tokens"][:, 4:])
    assert carry["count"] == 4
    ended = teacher_forced(model, [0, 1], [5, 6, 0], {})
    np.testing.assert_allclose(
        carry["log_probabilities"][1], ended[[0, 1, 2], [5, 6, 0]].sum(), atol=1e-5
    )
    assert carry["log_probabilities"][3] == 0
