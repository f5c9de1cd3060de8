import random
import re

import pytest

from tests.trainers.data.made import Listed
from trainers.data import self_supervised, tasks, tokenizers
from trainers.data.self_supervised import gap_fill, prefix_lm
from trainers.data.tokenizer_base import UNKNOWN
from trainers.errors import UserError

TEXT = "Thank you\tfor  inviting me to your party\nlast week, and the week before that one . "
MARKS = re.compile("[\ue000-\ue0ff]")


def listed(*texts):
    return Listed([{"text": text} for text in texts])


def pairs(source, split="train"):
    return [(record["source"], record["target"]) for record in source.records(split)]


def filled(source, target):
    """The text without gaps: what stands between two marks goes where the first is."""
    marks = MARKS.findall(target)
    missing = [text[1:-1] for text in MARKS.split(target)[1:-1]]
    assert marks == [chr(0xE000 + i) for i in range(len(marks))]
    assert MARKS.findall(source) == marks[:-1]
    for mark, text in zip(marks, missing, strict=False):
        source = source.replace(mark, text)
    return source


def test_filling_the_gaps_gives_back_the_text():
    for seed in range(50):
        ((source, target),) = pairs(gap_fill(listed(TEXT), seed=seed, gap_fraction=0.4))
        assert filled(source, target) == TEXT.strip()
        assert len(MARKS.findall(source)) > 1


def test_gaps_are_of_three_words_on_average_and_fifteen_percent():
    words = [f"w{i}" for i in range(100_000)]
    found = pairs(gap_fill(listed(" ".join(words)), most_words=100))
    assert len(found) == 1000
    gaps = [len(t.split()) for _, target in found for t in MARKS.split(target)[1:-1]]
    assert sum(gaps) == 15_000
    assert sum(gaps) / len(gaps) == 3.0
    assert len(set(gaps)) > 5
    firsts = [MARKS.split(source)[0].count(" ") for source, _ in found]
    assert len(set(firsts)) > 20  # they lie anywhere


def test_the_draw_is_a_function_of_seed_split_and_number():
    texts = [TEXT] * 4
    for make in (gap_fill, prefix_lm):
        found = pairs(make(listed(*texts)))
        assert found == pairs(make(listed(*texts)))
        assert len(set(found)) > 1
        assert pairs(make(listed(*texts[:2]))) == found[:2]
        assert found != pairs(make(listed(*texts), seed=1)) != pairs(make(listed(*texts)), "test")


def test_a_prefix_and_what_follows_are_the_text():
    cuts = set()
    for seed in range(60):
        ((source, target),) = pairs(prefix_lm(listed("one two\nthree  four five"), seed=seed))
        assert source + target == "one two\nthree  four five"
        cuts.add(len(source.split()))
    assert cuts == {1, 2, 3, 4}


def test_texts_are_cut_to_pieces_and_a_single_word_is_left_out():
    found = pairs(prefix_lm(listed("a b c d e f g", "h", "", "i j"), most_words=3))
    assert [(s + t).split() for s, t in found] == [list("abc"), list("def"), list("ij")]


@pytest.mark.parametrize("text", [None, 7, ["a b"]])
def test_what_is_no_text_names_its_record(text):
    with pytest.raises(UserError, match="listed:1: text must be a text, and is "):
        pairs(prefix_lm(listed(text)))


def test_a_text_that_has_a_mark_of_its_own_is_named_and_another_mark_helps():
    source = listed("a b", "c \ue003 d")
    with pytest.raises(UserError, match="listed:2: U\\+E003 is one of the marks .*first_mark"):
        pairs(gap_fill(source))
    assert len(pairs(gap_fill(source, first_mark=0xF000))) == 2


@pytest.mark.parametrize(
    "kind, most, size",
    [
        ("bytes", 3, None),
        ("characters", 1, None),
        ("words", 1, None),
        ("bpe", 1, 300),
        ("unigram", 1, 290),
        ("sentencepiece_bpe", 1, 300),
    ],
)
def test_a_mark_is_one_token_to_a_tokenizer_that_learns(kind, most, size):
    task = tasks.text_to_text(gap_fill(listed(*[TEXT] * 200)))
    tokenizer = tokenizers.train_tokenizer(kind, task.texts("train"), size)
    tokens = tokenizer.encode("\ue000")
    assert len(tokens) == most and UNKNOWN not in tokens
    assert tokenizer.decode(tokens) == "\ue000"


@pytest.mark.parametrize(
    "make, settings",
    [
        (gap_fill, {"gap_fraction": 0.0}),
        (gap_fill, {"mean_gap_words": 0.5}),
        (gap_fill, {"first_mark": 0xD800}),
        (gap_fill, {"most_words": 1}),
        (prefix_lm, {"most_words": 1}),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        make(listed(TEXT), **settings)


def test_the_fingerprint_follows_the_settings_and_the_source():
    prints = {
        source.fingerprint("train")
        for source in (
            gap_fill(listed(TEXT)),
            gap_fill(listed(TEXT), seed=1),
            gap_fill(listed(TEXT), gap_fraction=0.2),
            gap_fill(Listed([], "other")),
            prefix_lm(listed(TEXT)),
        )
    }
    assert len(prints) == 5


def test_random_segments_are_whole_numbers_that_make_the_total():
    seen = {tuple(self_supervised.segments(5, 3, random.Random(i))) for i in range(100)}
    assert seen == {(1, 1, 3), (1, 3, 1), (3, 1, 1), (1, 2, 2), (2, 1, 2), (2, 2, 1)}
