import random

import pytest
import tensorflow as tf

from trainers.data.byte_pair import BytePairTokenizer
from trainers.data.byte_pair_graph import BytePairInGraph


def grown(seed, count=10, alphabet="ab"):
    """Merges as they might have been learned: of pieces that there are already."""
    draw, pieces, merges = random.Random(seed), list(alphabet), []
    while len(merges) < count:
        merge = draw.choice(pieces), draw.choice(pieces)
        if merge not in merges:
            merges.append(merge)
            pieces.append("".join(merge))
    return merges


def shuffled(seed):
    """Merges in an order in which pieces have a use before they are made."""
    merges = grown(seed)
    random.Random(seed).shuffle(merges)
    return merges


def words(seed, alphabet="ab"):
    draw = random.Random(seed)
    return ["".join(draw.choices(alphabet, k=draw.randint(0, 60))) for _ in range(200)]


@pytest.mark.parametrize("make", [grown, shuffled])
@pytest.mark.parametrize("seed", range(4))
def test_words_long_and_of_few_letters_have_the_librarys_ids(make, seed):
    tokenizer, texts = BytePairTokenizer(make(seed)), words(seed)
    expected = [ids.tolist() for ids in tokenizer.encode_batch(texts)]
    assert tokenizer.in_graph().tokenize(tf.constant(texts)).to_list() == expected


def test_one_pass_merges_all_that_a_word_has_of_a_pair(monkeypatch):
    passes = 0
    merge_once = BytePairInGraph.merge_once

    def counted(*arguments):
        nonlocal passes
        passes += 1
        return merge_once(*arguments)

    monkeypatch.setattr(BytePairInGraph, "merge_once", counted)
    tokenizer = BytePairTokenizer([("a", "b"), ("ab", "ab"), ("c", "c"), ("abab", "cc")])
    texts = ["abababab" * 50 + "ccc" * 50, "ab"]
    expected = [ids.tolist() for ids in tokenizer.encode_batch(texts)]
    assert tokenizer.in_graph().tokenize(tf.constant(texts)).to_list() == expected
    assert passes == 4
