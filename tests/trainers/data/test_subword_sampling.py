"""Sampled tokenizations against the tokenizers themselves and a plain BPE dropout."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest

from tests.trainers.data.made import language_store
from tests.trainers.data.test_batches import same
from trainers.data import tokenizers
from trainers.data.batches import contiguous, windows
from trainers.data.example_batches import bucketed, packed
from trainers.data.subword_sampling import (
    Alternating,
    BpeDropout,
    SampledTokenizer,
    UnigramSampling,
)
from trainers.errors import UserError

SAMPLINGS = {
    "bpe": BpeDropout(),
    "sentencepiece_bpe": BpeDropout(),
    "unigram": UnigramSampling(),
}


def texts(count):
    draw = random.Random(0)
    words = ["lower", "lowest", "newer", "newest", "wider", "widest", "\u00fcber", "x\u2581y", "9"]
    return ["", *(" ".join(draw.choices(words, k=12)) + "\n" for _ in range(count))]


@pytest.fixture(scope="module")
def trained():
    sizes = {"bpe": 285, "sentencepiece_bpe": 290, "unigram": 290}
    return {
        kind: tokenizers.train_tokenizer(kind, texts(200), vocabulary_size=size)
        for kind, size in sizes.items()
    }


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_the_same_text_is_cut_otherwise_within_a_batch(trained, kind):
    found = SampledTokenizer(trained[kind], SAMPLINGS[kind], 0).encode_batch(texts(1)[1:] * 20)
    assert len({tuple(tokens) for tokens in found}) > 10


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_sampled_tokens_are_a_function_of_text_and_seed_and_lose_nothing(trained, kind):
    given = texts(50)
    found = [
        SampledTokenizer(trained[kind], SAMPLINGS[kind], seed).encode_batch(given)
        for seed in (0, 0, 1)
    ]
    plain = trained[kind].encode_batch(given)
    for first, again in zip(found[0], found[1], strict=True):
        np.testing.assert_array_equal(first, again)
    flat = [np.concatenate(each).tolist() for each in (*found, plain)]
    assert flat[0] != flat[2]
    assert flat[0] != flat[3]
    assert all(each.dtype == np.int32 for each in found[0])
    assert [trained[kind].decode(tokens) for tokens in found[0]] == given


@pytest.mark.parametrize("kind", ["bpe", "sentencepiece_bpe"])
def test_at_rate_0_nothing_is_dropped(trained, kind):
    given = texts(50)
    found = BpeDropout(rate=0.0).encode_batch(trained[kind], given, seed=1)
    for tokens, plain in zip(found, trained[kind].encode_batch(given), strict=True):
        np.testing.assert_array_equal(tokens, plain)


def test_at_rate_1_bytes_are_left(trained):
    found = BpeDropout(rate=1.0).encode_batch(trained["bpe"], ["\u00fcber", ""], seed=1)
    assert [tokens.tolist() for tokens in found] == [[b + 1 for b in "\u00fcber".encode()], []]


def plain_dropout(tokenizer, word, rate, draw):
    """Algorithm 1 of Provilkov et al. 2020, word for word."""
    ranks = {merge: rank for rank, merge in enumerate(tokenizer.merges)}
    symbols = list(word)
    while True:
        pairs = [
            (ranks[pair], i)
            for i, pair in enumerate(itertools.pairwise(symbols))
            if pair in ranks and draw.random() >= rate
        ]
        if not pairs:
            return tuple(tokenizer.ids[symbol] for symbol in symbols)
        _, i = min(pairs)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]


def test_segmentations_are_as_frequent_as_those_of_the_papers_algorithm(trained):
    tokenizer, count, draw = trained["bpe"], 20_000, random.Random(0)
    expected = Counter(plain_dropout(tokenizer, "lowest", 0.3, draw) for _ in range(count))
    found = BpeDropout(rate=0.3).encode_batch(tokenizer, ["lowest"] * count, seed=0)
    found = Counter(tuple(tokens.tolist()) for tokens in found)
    assert len(expected) > 5
    for segmentation in {*expected, *found}:
        # Five standard deviations of the difference of two frequencies.
        share = (expected[segmentation] + found[segmentation]) / (2 * count)
        difference = abs(expected[segmentation] - found[segmentation]) / count
        assert difference < 5 * (2 * share * (1 - share) / count) ** 0.5


@pytest.mark.parametrize("plan_of", [windows, contiguous, packed, bucketed])
def test_epochs_take_turns_with_the_copies_and_leave_nothing_out(tmp_path, trained, plan_of):
    tokenizer = trained["bpe"]

    def with_tokenizer(tokenizer):
        store = language_store(tmp_path, texts(60), tokenizer=tokenizer)
        return plan_of(store, batch_size=2, sequence_length=16)

    plan = BpeDropout(rate=0.2, copies=3).plan(with_tokenizer, tokenizer)
    alone = [
        with_tokenizer(SampledTokenizer(tokenizer, BpeDropout(rate=0.2), seed)) for seed in range(3)
    ]
    lengths = [each.steps_per_epoch for each in alone]
    assert isinstance(plan, Alternating) and len(set(lengths)) > 1
    assert min(lengths) <= plan.steps_per_epoch <= max(lengths)
    expected = [
        each.batch(epoch * each.steps_per_epoch + step)
        for epoch in range(2)
        for each in alone
        for step in range(each.steps_per_epoch)
    ]
    for step in reversed(range(len(expected))):
        same(plan.batch(step), expected[step])
    halves = [plan.batch(5, shard, 2) for shard in range(2)]
    for name, whole in plan.batch(5).items():
        np.testing.assert_array_equal(whole, np.concatenate([half[name] for half in halves]))


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="BpeDropout.rate = 1.5: must be from 0 to 1"):
        BpeDropout(rate=1.5)
    with pytest.raises(UserError, match="UnigramSampling.copies = 0"):
        UnigramSampling(copies=0)
    with pytest.raises(UserError, match="TOKENIZER is 'words' and must be 'unigram'"):
        UnigramSampling().check("words")
    BpeDropout().check("runs/other/tokenizer")  # a folder says later what kind it is
