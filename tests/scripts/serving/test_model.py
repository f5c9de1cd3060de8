"""What fits into a model, by its layout."""

import pytest
import tensorflow as tf
from serving.errors import ApiError
from serving.model import Model

from tests.scripts.serving.parrot import Parrot


def model(**said):
    """Of an export that reads and writes 64 tokens, a byte each."""
    parrot = Parrot()
    described = parrot.describe() | {name: tf.constant(value) for name, value in said.items()}
    parrot.describe = lambda: described
    return Model.of(parrot)


def test_a_prompt_and_its_answer_share_a_row():
    lm = model()
    assert lm.prepare("a" * 60, None) == ("a" * 60, 60, 4)
    assert lm.prepare("a" * 60, 2) == ("a" * 60, 60, 2)
    assert lm.prepare("a" * 64, 0) == ("a" * 64, 64, 0)
    with pytest.raises(ApiError, match="64 tokens"):
        lm.prepare("a" * 64, 1)


def test_an_answer_stands_behind_an_eos_where_texts_are_answered():
    assert model(layout="text_to_text").prepare("a" * 60, None)[2] == 3


def test_a_source_has_a_row_of_its_own():
    translator = model(layout="text_to_text", reads_source=True)
    assert translator.prepare("a" * 63, None) == ("a" * 63, 63, 64)
    assert translator.prepare("b" * 5 + "a" * 63, None, "left") == ("a" * 63, 63, 64)
    with pytest.raises(ApiError, match="64 tokens"):
        translator.prepare("a" * 64, None)


def test_what_is_put_around_a_prompt_takes_room():
    assert model(prefix="translate: ", suffix=".").prepare("a" * 20, None)[2] == 64 - 12 - 20


def test_a_prompt_is_cut_so_that_half_the_length_is_left_for_an_answer():
    text = "0123456789" * 10
    assert model().prepare(text, None, "left") == (text[-32:], 32, 32)
    assert model().prepare(text, 8, "left") == (text[-56:], 56, 8)


def test_to_cut_a_prompt_what_has_no_text_is_not_read(monkeypatch):
    lm = model(separator="|")
    tokenize, read = lm.tokenize, []
    monkeypatch.setattr(lm, "tokenize", lambda text: read.append(text) or tokenize(text))
    assert lm.end_of("a" * 40 + "|" * 1000 + "bb" + "|" * 1000, 5) == "aaa|bb"
    assert read == ["bb", "a" * 40]


def test_a_model_has_the_name_it_is_given_or_its_own_or_its_folders(tmp_path):
    assert Model.of(Parrot(), str(tmp_path), "mine").name == "mine"
    assert Model.of(Parrot(), str(tmp_path)).name == "parrot"
    assert Model.of(Parrot(name=""), str(tmp_path)).name == tmp_path.name


def test_an_export_is_told_from_others(tmp_path):
    (tmp_path / "fingerprint.pb").write_bytes(b"one")
    one = Model.of(Parrot(), str(tmp_path)).fingerprint
    (tmp_path / "fingerprint.pb").write_bytes(b"two")
    assert one.startswith("fp_")
    assert Model.of(Parrot(), str(tmp_path)).fingerprint != one


def test_an_export_of_an_older_version_is_told_from_one_to_serve(monkeypatch):
    monkeypatch.delattr(Parrot, "join")
    with pytest.raises(ValueError, match="no function 'join'.*--mode=export"):
        Model.of(Parrot(), "runs/old/export")
