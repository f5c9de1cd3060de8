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
    "decoder_lm_window": lambda: DecoderLM(
        VOCABULARY_SIZE, num_layers=2, width=16, window=4, short_convolution=3
    ),
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


def source_features(model, rows):
    if not model.reads_source:
        return {}
    return {name: feature[rows] for name, feature in SOURCE_FEATURES.items()}


def decode(model, prompts, features, limits, pieces=None, num_top=0, **options):
    """Never ends before its limit, unless the options say so."""
    limits = np.array(limits, "int32")
    settings = samplers.settings(len(limits), **{"min_new_tokens": 99, **options})
    settings["num_top"] = np.full(len(limits), num_top, "int32")
    buffer = np.zeros((len(limits), 8), "int32")
    begun = loop.begin(model, np.array(prompts, "int32"), limits, buffer, settings, features)
    carry = loop.first(*begun)
    for max_steps in pieces or [None]:
        carry = loop.advance(model, carry, max_steps)
    return {name: ops.convert_to_numpy(carry[name]) for name in carry if name in RESULTS}


RESULTS = ("tokens", "count", "gained", "top_tokens", "top_gained", "ended", "finished")


def assert_same_rows(found, expected):
    for name in RESULTS:
        assert found[name].shape == expected[name].shape
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)


def teacher_forced(model, prompt, tokens, features):
    """Log-probabilities [T, V] with everything read at once."""
    inputs = np.array([[*prompt, *tokens[:-1]]], "int32")
    logits = model({"inputs": inputs, **features})
    return np.asarray(ops.log_softmax(logits))[0, -len(tokens) :]


def test_greedy_tokens_are_the_likeliest_of_a_model_that_reads_everything_at_once(model):
    prompt, features = [0, 4, 9], source_features(model, slice(1))
    carry = decode(model, [prompt], features, [6], num_top=5)
    tokens = carry["tokens"][0, :6]
    expected = teacher_forced(model, prompt, tokens, features)
    np.testing.assert_array_equal(tokens, expected[:, 1:].argmax(-1) + 1)
    np.testing.assert_allclose(carry["gained"][0, :6], expected[np.arange(6), tokens], atol=1e-4)
    ranked = np.argsort(-expected, axis=1)[:, :20]
    np.testing.assert_array_equal(carry["top_tokens"][0, :6], ranked)
    ranked = np.take_along_axis(expected, ranked, axis=1)
    np.testing.assert_allclose(carry["top_gained"][0, :6], ranked, atol=1e-4)
    assert not decode(model, [prompt], features, [6])["top_gained"].any()  # nobody asked


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "top_p": 0.9, "seed": [3, 4, 5]}])
def test_left_padded_prompts_get_what_each_gets_alone(model, options):
    prompts = [[0, 4, 9, 2, 7], [0, 3], [0]]
    padding = np.array([0, 3, 4], "int32")
    padded = [[0] * places + prompt for places, prompt in zip(padding, prompts, strict=True)]
    features = {"padding": padding, **source_features(model, slice(3))}
    penalty = {"repetition_penalty": 1.3}
    together = decode(model, padded, features, [6, 6, 6], **options, **penalty)
    for row, prompt in enumerate(prompts):
        own = {
            name: value[row : row + 1] if name == "seed" else value
            for name, value in options.items()
        }
        features = source_features(model, slice(row, row + 1))
        alone = decode(model, [prompt], features, [6], **own, **penalty)
        assert_same_rows({name: part[row : row + 1] for name, part in together.items()}, alone)


def test_advancing_in_pieces_is_advancing_at_once(model):
    options = {"temperature": 1.0, "top_k": 5, "top_p": 0.9, "seed": [7, 8], "num_top": 1}
    prompts, features = [[0, 4], [0, 5]], source_features(model, slice(2))
    at_once = decode(model, prompts, features, [8, 8], **options)
    in_pieces = decode(model, prompts, features, [8, 8], pieces=[1, 3, 0, 9, 1], **options)
    assert_same_rows(in_pieces, at_once)


def test_rows_that_join_a_batch_get_what_they_get_alone(model):
    """A row that has drawn five tokens, and one that has drawn one, side by side."""
    prompts, limits = [[0, 4, 2], [0, 5, 3]], np.array([8, 8], "int32")

    def begun(row):
        settings = {**samplers.settings(1, min_new_tokens=99), "num_top": np.zeros(1, "int32")}
        prompt = np.array(prompts[row : row + 1], "int32")
        features = source_features(model, slice(row, row + 1))
        buffer = np.zeros((1, 8), "int32")
        return loop.first(*loop.begin(model, prompt, limits[:1], buffer, settings, features))

    rows = loop.advance(model, begun(0), 4), begun(1)
    both = keras.tree.map_structure(lambda *parts: ops.concatenate(parts, axis=0), *rows)
    both = loop.advance(model, both)
    for row in range(2):
        alone = loop.advance(model, begun(row))
        np.testing.assert_array_equal(both["tokens"][row], alone["tokens"][0])
        np.testing.assert_allclose(both["gained"][row], alone["gained"][0], atol=1e-4)


def test_repeated_rows_are_rows_of_the_same_prompt(model):
    settings = {**samplers.settings(2, min_new_tokens=99), "num_top": np.zeros(2, "int32")}
    prompts, features = np.array([[0, 4], [0, 5]], "int32"), source_features(model, slice(2))
    limits, buffer = np.array([6, 6], "int32"), np.zeros((2, 8), "int32")
    begun = loop.begin(model, prompts, limits, buffer, settings, features)
    alone = loop.advance(model, loop.first(*begun))["tokens"]
    repeated = loop.advance(model, loop.first(*loop.repeat(begun, 3)))["tokens"]
    np.testing.assert_array_equal(repeated, np.repeat(alone, 3, axis=0))


def test_rows_end_at_their_limit_or_at_the_end_token_and_the_loop_with_the_last():
    keras.utils.set_random_seed(0)
    model = MODELS["lstm_lm"]()
    for weight in model.weights:
        weight.assign(0.5 * keras.random.normal(weight.shape))
    limits = [1, 8, 4, 0] * 16
    carry = decode(
        model,
        [[0, 1]] * 64,
        {},
        limits,
        temperature=2.0,
        seed=np.arange(64),
        min_new_tokens=0,
    )
    by_the_end = 0
    for row, limit in enumerate(limits):
        count, tokens = carry["count"][row], carry["tokens"][row]
        assert not tokens[count:].any() and not carry["gained"][row, count:].any()
        ended = count > 0 and tokens[count - 1] == 0
        assert tokens[: max(count - 1, 0)].all() and count <= limit and (ended or count == limit)
        assert carry["finished"][row] == ended and carry["ended"][row]
        by_the_end += ended
        if ended:
            expected = teacher_forced(model, [0, 1], tokens[:count], {})
            gained = expected[np.arange(count), tokens[:count]]
            np.testing.assert_allclose(carry["gained"][row, :count], gained, atol=1e-4)
    assert 3 < by_the_end < 48


def test_penalties_count_the_tokens_of_prompt_and_answer_and_no_padding():
    model = DecoderLM(VOCABULARY_SIZE, num_layers=1, width=16)
    none = model.embedding.head if model.embedding.head is not None else model.embedding.table
    none.assign(0 * none)  # all tokens are as likely: greedy takes the first that is not struck
    prompts, features = [[0, 0, 2, 1], [0, 3, 4, 2]], {"padding": np.array([1, 0], "int32")}
    options = {"repetition_penalty": 2.0}  # of a logit of 0 it changes nothing
    carry = decode(model, prompts, features, [4, 4], presence_penalty=1.0, **options)
    np.testing.assert_array_equal(carry["tokens"][:, :4], [[1, 2, 3, 4]] * 2)
    settings = {**samplers.settings(2), "num_top": np.zeros(2, "int32")}
    buffer, limits = np.zeros((2, 8), "int32"), np.array([4, 4], "int32")
    begun, _ = loop.begin(model, np.array(prompts, "int32"), limits, buffer, settings, features)
    prompted = ops.convert_to_numpy(begun["prompted"])
    assert [set(np.flatnonzero(row)) for row in prompted] == [{1, 2}, {2, 3, 4}]
