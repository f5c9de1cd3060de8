"""Beam search against all texts there are, and against a plain search in Python."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from zoo import LSTMLM, DecoderLM, EncoderDecoder
from zoo.decoding import beam_search

V = 5
SOURCE = np.array([[1, 2, 3], [4, 2, 0]], "int32")
PROMPTS = np.array([[0, 1, 2], [0, 3, 3]], "int32")
MODELS = {
    "decoder_lm": lambda: DecoderLM(V, num_layers=1, width=16, short_convolution=3),
    "lstm_lm": lambda: LSTMLM(V, num_layers=1, width=16),
    "encoder_decoder": lambda: EncoderDecoder(V, num_layers=1, width=16),
}


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    keras.utils.set_random_seed(3)
    model = MODELS[request.param]()
    for weight in model.weights:
        weight.assign(0.6 * keras.random.normal(weight.shape))
    return model


def features_of(model, rows=slice(None)):
    if not model.reads_source:
        return {}
    source = SOURCE[rows]
    return {"source": source, "source_segments": (source > 0).astype("int32")}


def found_by(model, width, limits, rows=slice(None), capacity=8, **options):
    prompts = PROMPTS[rows]
    found = beam_search.search(
        model,
        prompts,
        np.array(limits, "int32")[: len(prompts)],
        np.zeros((len(prompts), capacity), "int32"),
        np.zeros(width),
        features=features_of(model, rows),
        **options,
    )
    return {name: ops.convert_to_numpy(part) for name, part in found.items()}


def log_probabilities_of(model, row, texts):
    """Of texts of one length, read at once. [K]."""
    texts = np.array(texts, "int32")
    prompt = np.tile(PROMPTS[row], (len(texts), 1))
    features = {
        name: np.repeat(part, len(texts), axis=0)
        for name, part in features_of(model, slice(row, row + 1)).items()
    }
    inputs = np.concatenate([prompt, texts[:, :-1]], axis=1)
    logits = model({"inputs": inputs, **features})[:, prompt.shape[1] - 1 :]
    gained = np.take_along_axis(np.asarray(ops.log_softmax(logits)), texts[..., None], axis=2)
    return gained.sum(axis=(1, 2))


def all_texts(model, row, limit, length_penalty):
    """[(score, text)], the best first, of all texts that end by the limit or at it."""
    scored = []
    for length in range(1, limit + 1):
        texts = [
            text
            for text in itertools.product(range(V), repeat=length)
            if all(text[:-1]) and (text[-1] == 0 or length == limit)
        ]
        sums = log_probabilities_of(model, row, texts)
        scored += zip(sums / length**length_penalty, texts, strict=True)
    return sorted(scored, reverse=True)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_a_beam_of_all_prefixes_finds_the_best_texts_there_are(model, length_penalty):
    options = {"length_penalty": length_penalty, "exhaustive": True}
    found = found_by(model, V**3, [4, 3], **options)
    for row, limit in enumerate([4, 3]):
        expected = all_texts(model, row, limit, length_penalty)[:20]
        for place, (score, text) in enumerate(expected):
            length = found["lengths"][row, place]
            np.testing.assert_allclose(found["scores"][row, place], score, atol=1e-4)
            assert tuple(found["tokens"][row, place, :length]) == text
            assert not found["tokens"][row, place, length:].any()


def plain_search(model, row, width, limit, length_penalty, early_stopping):
    """A beam of lists, a prefix at a time."""
    running, found = [(0.0, ())], []
    for length in range(1, limit + 1):
        candidates = []
        for _, prefix in running:
            texts = [(*prefix, token) for token in range(V)]
            candidates += zip(log_probabilities_of(model, row, texts), texts, strict=True)
        candidates = sorted(candidates, reverse=True)[: 2 * width]
        norm = length**length_penalty
        for total, text in candidates:
            if text[-1] == 0 or length == limit:
                found.append((total / norm, text))
        found = sorted(found, reverse=True)[:width]
        running = [(total, text) for total, text in candidates if text[-1]][:width]
        full = len(found) == width
        if full and (early_stopping or running[0][0] / norm <= found[-1][0]):
            break
    return found


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("width, length_penalty", [(1, 1.0), (2, 0.6), (3, 1.0), (3, 0.0)])
def test_a_narrow_beam_finds_what_a_plain_search_finds(
    model, width, length_penalty, early_stopping
):
    found = found_by(
        model, width, [7, 5], length_penalty=length_penalty, early_stopping=early_stopping
    )
    for row, limit in enumerate([7, 5]):
        expected = plain_search(model, row, width, limit, length_penalty, early_stopping)
        for place, (score, text) in enumerate(expected):
            np.testing.assert_allclose(found["scores"][row, place], score, atol=1e-4)
            assert tuple(found["tokens"][row, place, : len(text)]) == text


def test_prompts_side_by_side_find_what_each_finds_alone(model):
    together = found_by(model, 3, [6, 6])
    for row in range(2):
        alone = found_by(model, 3, [6], rows=slice(row, row + 1))
        np.testing.assert_array_equal(together["tokens"][row], alone["tokens"][0])
        np.testing.assert_allclose(together["scores"][row], alone["scores"][0], atol=1e-4)


def test_nothing_may_be_drawn_and_nothing_is_found(model):
    found = found_by(model, 2, [0, 0])
    assert not found["tokens"].any() and not found["lengths"].any()
