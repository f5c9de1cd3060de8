import pytest

from trainers.text_metrics.variety import distinct, lengths, repetition


def test_distinct_ngrams_are_counted_over_all_texts_and_divided_by_the_words():
    # Words a b a, a b: 2 of 5 are distinct; pairs ab ba, ab: 2.
    assert distinct(["a b a", "a b"]) == {"distinct1": 2 / 5, "distinct2": 2 / 5}
    assert distinct(["", ""]) == {"distinct1": 0, "distinct2": 0}


def test_repetition_is_the_mean_share_of_fourgrams_that_were_there_before():
    # a b c d a b c d: abcd bcda cdab dabc abcd, one of five is there before.
    assert repetition(["a b c d a b c d"]) == {"repetition": pytest.approx(1 / 5)}
    assert repetition(["a b c d a b c d", "x x x"]) == {"repetition": pytest.approx(1 / 10)}
    assert repetition(["x " * 13]) == {"repetition": pytest.approx(9 / 10)}


def test_lengths_are_in_words_and_empty_is_what_has_none():
    assert lengths(["a b c", " \n", ""]) == {"mean_words": 1, "empty_answers": 2}
