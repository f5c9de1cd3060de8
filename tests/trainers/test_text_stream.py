from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.text_stream import TextStream


def feed(texts, stop=()):
    stream = TextStream(stop)
    pieces = []
    for i, text in enumerate(texts):
        piece, stopped = stream.feed(text, ended=i + 1 == len(texts))
        pieces.append(piece)
        if stopped:
            break
    return pieces


def grown(text):
    return [text[: i + 1] for i in range(len(text))]


def test_text_is_sent_as_it_comes():
    assert feed(grown("hello")) == list("hello")


def test_a_stop_string_is_cut_and_no_part_of_it_is_ever_sent():
    assert feed(grown("one\nUser: two"), ["\nUser:"]) == ["o", "n", "e", "", "", "", "", "", ""]


def test_what_only_began_like_a_stop_string_is_sent_when_that_is_known():
    assert feed(grown("a\nUs\n."), ["\nUser:"]) == ["a", "", "", "", "\nUs", "\n."]


def test_what_is_held_back_is_sent_at_the_end():
    assert feed(grown("ab"), ["bc"]) == ["a", "b"]


def test_the_stop_string_that_is_complete_first_counts():
    assert "".join(feed(["xabcd"], ["abcd", "bc"])) == "xa"
    assert "".join(feed(grown("xabcd"), ["abcd", "bc"])) == "xa"


def test_an_unfinished_character_waits_for_its_bytes():
    assert feed(["a", "a\ufffd", "a\ufffd", "aé", "aé\ufffd"]) == ["a", "", "", "é", "\ufffd"]


@settings(max_examples=200, deadline=None)
@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 30), max_size=8),
)
def test_pieces_make_the_same_text_however_they_come(text, stop, cuts):
    parts = [text[:cut] for cut in sorted({cut for cut in cuts if cut < len(text)})] + [text]
    whole = "".join(feed([text], stop))
    assert "".join(feed(parts, stop)) == whole
    assert text.startswith(whole)
    assert not any(each in whole for each in stop)
