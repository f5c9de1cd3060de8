import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.data.made import language_store, pair_store
from trainers import chunked_loss, metrics
from trainers.data.batches import contiguous, windows
from trainers.data.example_batches import bucketed, packed
from zoo import LSTMLM, DecoderLM, EncoderDecoder

TEXTS = [f"text number {i * 7919}, with words of some length" for i in range(23)]


def random_weights(model):
    keras.utils.set_random_seed(0)
    for weight in model.weights:
        weight.assign(0.3 * keras.random.normal(weight.shape))
    return model


def plain(model, features, state=None):
    """Sums of loss, right predictions and tokens, in numpy and float64."""
    logits = model(features, state=state)
    logits, state = logits if state is not None else (logits, None)
    logits = np.asarray(logits, np.float64)
    targets, weights = features["targets"], features["weights"]
    log_z = np.log(np.exp(logits).sum(-1))
    nll = log_z - np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    right = logits.argmax(-1) == targets
    return np.array([(nll * weights).sum(), (right * weights).sum(), weights.sum()]), state


@pytest.mark.parametrize("plan_of", [windows, packed, bucketed])
@pytest.mark.parametrize("batch_size, length", [(1, 16), (4, 16), (7, 64)])
def test_every_token_counts_once_whatever_the_shape_of_batches(
    tmp_path, plan_of, batch_size, length
):
    store = language_store(tmp_path, TEXTS, split="validation")
    model = random_weights(DecoderLM(257, num_layers=1, width=16))
    plan = plan_of(store, batch_size, length, training=False)
    found = metrics.Evaluation(model, plan, tf.distribute.get_strategy()).run()
    sums = sum(plain(model, plan.batch(step))[0] for step in range(plan.steps_per_epoch))
    assert found["tokens"] == store.meta["target_tokens"] == sums[2]
    assert found["loss"] == pytest.approx(sums[0] / sums[2], rel=1e-6)
    assert found["accuracy"] == pytest.approx(sums[1] / sums[2])
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    text_bytes = sum(len(text.encode()) for text in TEXTS)
    assert found["bits_per_byte"] == pytest.approx(sums[0] / math.log(2) / text_bytes, rel=1e-6)
    words = sum(len(text.split()) + 1 for text in TEXTS)
    assert found["word_perplexity"] == pytest.approx(math.exp(sums[0] / words), rel=1e-5)


@pytest.mark.parametrize("stride", [1, 5, 32])
def test_perplexity_with_a_stride_is_that_of_one_window_after_another(tmp_path, stride):
    # Truth: the loop of Hugging Face's guide to the perplexity of fixed-length models.
    store = language_store(tmp_path, TEXTS[:8], split="validation")
    model = random_weights(DecoderLM(257, num_layers=1, width=16))
    length, end = 32, 0
    inputs = np.concatenate([[0], store.tokens[:-1]]).astype(np.int32)
    targets = store.tokens.astype(np.int32)
    nll = []
    for begin in range(0, len(targets), stride):
        before, end = end, min(begin + length, len(targets))
        logits = np.asarray(model({"inputs": inputs[None, begin:end]}), np.float64)[0]
        log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        for place in range(before, end):
            nll.append(-log_probabilities[place - begin, targets[place]])
        if end == len(targets):
            break
    plan = windows(store, 3, length, training=False, evaluation_stride=stride)
    found = metrics.Evaluation(model, plan, tf.distribute.get_strategy()).run()
    assert found["tokens"] == len(nll) == store.meta["target_tokens"]
    assert found["loss"] == pytest.approx(np.mean(nll), rel=1e-5)
    assert found["evaluation_stride"] == stride


def test_word_perplexity_counts_words_and_line_ends_whatever_the_tokens(tmp_path):
    # By hand: lines of 3, 0 and 2 words are 5 words and 3 ends; a model that finds all 257
    # tokens equally likely takes log 257 nats for each of the 24 bytes and 3 ends.
    store = language_store(tmp_path, ["one two three", "", "four  fives"], split="validation")
    model = DecoderLM(257, num_layers=1, width=16)
    for weight in model.weights:
        weight.assign(keras.ops.zeros_like(weight))
    plan = windows(store, 2, 8, training=False)
    found = metrics.Evaluation(model, plan, tf.distribute.get_strategy()).run()
    assert found["tokens"] == 13 + 0 + 11 + 3
    assert found["word_perplexity"] == pytest.approx(257 ** (27 / 8), rel=1e-5)


def test_a_carried_state_begins_at_zero_in_every_evaluation(tmp_path):
    store = language_store(tmp_path, TEXTS, split="validation")
    model = random_weights(LSTMLM(257, num_layers=2, width=12))
    plan = contiguous(store, 3, 10, training=False)
    evaluation = metrics.Evaluation(model, plan, tf.distribute.get_strategy())
    first = evaluation.run()
    assert evaluation.run() == first
    state, sums = model.initial_state(3), 0
    for step in range(plan.steps_per_epoch):
        more, state = plain(model, plan.batch(step), state)
        sums = sums + more
    assert first["tokens"] == sums[2] == store.meta["target_tokens"]
    assert first["loss"] == pytest.approx(sums[0] / sums[2], rel=1e-6)


@pytest.mark.parametrize("plan_of", [windows, bucketed])
def test_logits_are_made_a_few_tokens_at_a_time(tmp_path, monkeypatch, plan_of):
    # Truth: all of a batch's logits at once.
    store = language_store(tmp_path, TEXTS, split="validation")
    model = random_weights(DecoderLM(257, num_layers=1, width=16))
    plan = plan_of(store, 4, 32, training=False)
    whole = metrics.Evaluation(model, plan, tf.distribute.get_strategy()).run()
    seen = []
    logits = model.logits
    monkeypatch.setattr(chunked_loss, "MOST_LOGITS", 40 * 257)
    monkeypatch.setattr(model, "logits", lambda hidden: seen.append(hidden.shape) or logits(hidden))
    found = metrics.Evaluation(model, plan, tf.distribute.get_strategy()).run()
    assert found == pytest.approx(whole, rel=1e-6)
    assert len(seen) >= 2  # in the first chunk, in the loop
    if plan_of is windows:
        assert max(shape[0] for shape in seen) <= 40


def test_a_source_is_read(tmp_path):
    pairs = [(f"source {i}", f"target {i}") for i in range(9)]
    store = pair_store(tmp_path, pairs, "validation")
    model = random_weights(EncoderDecoder(257, num_layers=1, width=16))
    plan = packed(store, 2, 32, source_length=32, training=False)
    found = metrics.Evaluation(model, plan, tf.distribute.get_strategy()).run()
    sums = sum(plain(model, plan.batch(step))[0] for step in range(plan.steps_per_epoch))
    assert found["tokens"] == sum(len(target) + 1 for _, target in pairs)
    assert found["loss"] == pytest.approx(sums[0] / sums[2], rel=1e-6)


def test_text_that_was_cut_has_no_measures_of_the_whole_text():
    meta = {"target_tokens": 10, "target_bytes": 40, "target_words": 5}
    assert "bits_per_byte" in metrics.measures(7.0, 3.0, 10, meta)
    assert set(metrics.measures(7.0, 3.0, 9, meta)) == {"loss", "perplexity", "accuracy", "tokens"}


def test_perplexity_of_any_loss_is_a_number():
    assert metrics.perplexity(math.log(5)) == pytest.approx(5)
    assert metrics.perplexity(1e4) == math.inf
