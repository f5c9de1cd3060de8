import numpy as np

from trainers.data.turns import exchanges, pieces


def rows(*conversations):
    """(learned, offsets) of conversations written as "..##": given and learned tokens."""
    learned = np.array([letter == "#" for letter in "".join(conversations)], np.uint8)
    return learned, np.cumsum([0, *map(len, conversations)])


def test_exchanges_are_questions_with_their_answers():
    begins, answers, ends = exchanges(*rows("..##.#", "##..#"))
    assert begins.tolist() == [0, 4, 6, 8]
    assert answers.tolist() == [2, 5, 6, 10]
    assert ends.tolist() == [4, 6, 8, 11]


def test_exchanges_are_found_across_blocks(monkeypatch):
    given = rows("..##.#", "##..#", ".#")
    whole = exchanges(*given)
    for block in (1, 2, 3, 5):
        monkeypatch.setattr("trainers.data.turns.BLOCK", block)
        for found, expected in zip(exchanges(*given), whole, strict=True):
            assert found.tolist() == expected.tolist()


def test_a_conversation_that_fits_is_one_piece():
    starts, targets, lengths, cut = pieces(*rows(".#.#.#", ".##"), 6)
    assert (starts.tolist(), targets.tolist(), lengths.tolist()) == ([0, 6], [1, 7], [6, 3])
    assert cut.tolist() == [False, False]


def test_a_longer_one_is_divided_between_turns_and_loses_nothing():
    starts, targets, lengths, cut = pieces(*rows(".#", "..##.#.##.#", ".#"), 6)
    assert starts.tolist() == [0, 2, 8, 13]
    assert targets.tolist() == [1, 4, 9, 14]
    assert lengths.tolist() == [2, 6, 5, 2]
    assert not cut.any()


def test_an_exchange_longer_than_a_row_keeps_the_end_of_its_question():
    starts, targets, lengths, cut = pieces(*rows(".#", ".#" + "." * 9 + "##" + ".#"), 4)
    assert starts.tolist() == [0, 2, 11, 15]
    assert targets.tolist() == [1, 3, 13, 16]
    assert lengths.tolist() == [2, 2, 4, 2]
    assert cut.tolist() == [False, True]


def test_a_long_answer_may_fill_half_of_the_row_at_the_questions_cost():
    starts, targets, lengths, _ = pieces(*rows("......########"), 4)
    assert (starts.tolist(), targets.tolist(), lengths.tolist()) == ([4], [6], [4])
    starts, targets, lengths, _ = pieces(*rows(".########"), 4)
    assert (starts.tolist(), targets.tolist(), lengths.tolist()) == ([0], [1], [4])
