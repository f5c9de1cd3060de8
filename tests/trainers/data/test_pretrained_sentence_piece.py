"""Truth: the library `tokenizers` by the same tokenizer.json, and SentencePiece by the same model."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.data import sentence_pieces
from tests.trainers.data.byte_pairs import varied
from tests.trainers.data.sentence_pieces import KINDS, SPLIT, metaspace
from trainers.data import store, tokenizers
from trainers.data.special_tokens import SEPARATOR, with_special_tokens
from trainers.data.tokenizer_base import GOES_ON
from trainers.errors import UserError
from trainers.hugging_face.tokenizer import of_description
from trainers.prompts import Prompts

ENDS = {"llama": 2, "mistral": 2, "gemma": 1, "t5": 1}
TEXTS = [text for text in sentence_pieces.LETTERS if "\u2581" not in text] + varied(1000)
# What sentence_piece_model.py says to be read otherwise by `tokenizers`.
OTHERWISE = re.compile("\u0085|[\u0301é][\ufe0f\u200d]")


@pytest.fixture(scope="module", params=KINDS)
def pair(request):
    """(our tokenizer, that of the library without special tokens in texts)"""
    from tokenizers import Tokenizer

    description = sentence_pieces.description_of(request.param)
    config = {"eos_token_id": ENDS[request.param], "vocab_size": 720}
    theirs = Tokenizer.from_str(json.dumps(description))
    theirs.encode_special_tokens = True
    return of_description(description, config, True), theirs


@pytest.fixture(scope="module")
def mistral():
    return of_description(
        sentence_pieces.description_of("mistral"), {"eos_token_id": 2, "vocab_size": 720}, True
    )


@pytest.fixture(scope="module")
def llama():
    return of_description(
        sentence_pieces.description_of("llama"), {"eos_token_id": 2, "vocab_size": 720}, True
    )


def test_ids_are_the_librarys_but_for_the_end_and_0(pair):
    ours, theirs = pair
    unigrams = ours.description["model"]["type"] == "Unigram"
    texts = [text for text in TEXTS if not (unigrams and OTHERWISE.search(text))]
    assert len(texts) > 800
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        expected = theirs.encode(text, add_special_tokens=False)
        assert ours.swapped(ids).tolist() == expected.ids, repr(text)
        unknown = theirs.token_to_id("<unk>") in expected.ids
        assert unknown or ours.decode(ids) == theirs.decode(expected.ids), repr(text)


def test_the_graph_has_the_same_ids_and_texts(pair):
    ours, _ = pair
    graph = ours.in_graph()
    found = tf.function(graph.tokenize)(tf.constant(TEXTS))
    outside = ours.encode_batch(TEXTS)
    assert found.dtype == tf.int32 and found.to_list() == [ids.tolist() for ids in outside]
    back = tf.function(graph.detokenize)(found).numpy()
    assert [text.decode() for text in back] == [ours.decode(ids) for ids in outside]


def test_special_tokens_stand_where_the_library_puts_them(pair):
    ours, theirs = pair
    special = one, two = [text for text in ours.special_ids if text != "<unk>"][-2:]
    texts = [f"{one}a b{two}c  d{two}", f"a{one} b {two}", f"{one}{two}", "a b", f" a{one}\n", ""]
    reads = with_special_tokens(ours, special)
    graph = reads.in_graph()
    found = graph.tokenize(tf.constant(texts)).to_list()
    theirs.encode_special_tokens = False
    for text, ids in zip(texts, found, strict=True):
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert ours.swapped(ids).tolist() == expected, repr(text)
        assert reads.encode(text).tolist() == ids
    theirs.encode_special_tokens = True
    back = graph.detokenize(tf.ragged.constant(found, tf.int32)).numpy()
    assert [text.decode() for text in back] == [reads.decode(ids) for ids in found]


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_what_goes_on_from_a_text_gets_no_space(kind, request):
    ours = request.getfixturevalue(kind)
    words, letters = ours.encode("ab cd").tolist(), ours.encode(f"{GOES_ON} cd").tolist()
    assert ours.decode(words) == "ab cd" and ours.decode([*words, *letters]) == "ab cd cd"
    assert ours.encode(GOES_ON).size == 0
    reads = with_special_tokens(ours, ["</s>", "<s>"])
    parts = f"ab{SEPARATOR} c{SEPARATOR}{SEPARATOR}d<s>{SEPARATOR}ab{SEPARATOR}ab"
    given = [parts, f"{GOES_ON}ab{SEPARATOR}ab", f"{GOES_ON}<s>ab", f"{GOES_ON}{SEPARATOR}ab"]
    behind = ours.encode("ab" if kind == "llama" else f"{GOES_ON}ab").tolist()
    on = [ours.encode(f"{GOES_ON}{text}").tolist() for text in ("ab", " c", "d")]
    begin = reads.special_ids.get("<s>", ours.special_ids["<s>"])
    expected = [
        [*ours.encode("ab"), *on[1], *on[2], begin, *behind, *on[0]],
        [*on[0], *on[0]],
        [begin, *behind],
        on[0],
    ]
    assert [ids.tolist() for ids in reads.encode_batch(given)] == expected
    assert reads.in_graph().tokenize(tf.constant(given)).to_list() == expected


def test_answers_of_a_language_model_go_on_from_their_prompts(llama):
    def reads(layout):
        graph = llama.in_graph()
        return Prompts(graph, layout, False, 64, leading_space=llama.leading_space)

    texts = ["ab", "ab"]
    prompts = tf.constant(["a", ""])
    on, begun = llama.encode(f"{GOES_ON}ab").tolist(), llama.encode("ab").tolist()
    found = reads("language_modelling").tokenize_answers(tf.constant(texts), prompts)
    assert found.to_list() == [on, begun] and on != begun
    assert reads("text_to_text").tokenize_answers(texts, prompts).to_list() == [begun, begun]


def test_parts_of_a_conversation_are_stored_as_one_text(tmp_path, llama):
    class Conversations:
        kind = "conversation"
        name = "talk"
        pairs = False

        def fingerprint(self, split):
            return "1"

        def examples(self, split):
            for _ in range(2):
                yield {"parts": [("ab ", False), ("cd", True)]}

    found = store.build_store(Conversations(), "train", llama, str(tmp_path))
    one = [*llama.encode("ab "), *llama.encode(f"{GOES_ON}cd"), 0]
    assert found.tokens.tolist() == one * 2


def test_a_space_before_a_word_stays_behind_a_prompt(pair):
    ours, _ = pair
    graph = ours.in_graph()
    ids = ours.encode("don't ab def").tolist()
    for i in range(1, len(ids)):
        before = ours.decode(ids[:i]).rstrip("\ufffd")
        assert "don't ab def".startswith(before)
    assert graph.detokenize(tf.constant([[*ids, 0, 5]])).numpy()[0].decode() == "don't ab def"


def test_ids_beyond_the_tokens_are_nothing(pair):
    ours, _ = pair
    assert ours.vocabulary_size == len(ours.pieces) == 720
    assert ours.decode([*ours.encode("ab"), 719]) == "ab"


def test_saved_and_loaded_it_is_the_same(tmp_path, pair):
    ours, _ = pair
    ours.save(str(tmp_path / "tokenizer"))
    loaded = tokenizers.load(str(tmp_path / "tokenizer"))
    assert loaded.fingerprint == ours.fingerprint and loaded.special_ids == ours.special_ids
    assert (loaded.leading_space, loaded.begins_texts) == (ours.leading_space, True)
    np.testing.assert_array_equal(loaded.encode(" don't  stop"), ours.encode(" don't  stop"))


def changed(kind, part=None, **values):
    """A description with other values, of a part or as a whole."""
    description = sentence_pieces.description_of(kind)
    if part:
        values = {part: {**description[part], **values}}
    return description | values


def own(**values):
    plain = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized", "special"], False)
    return [{"id": 710, "content": "<own>", **plain, **values}]


def reordered():
    """Merges of which two have changed places with others far away."""
    description = sentence_pieces.description_of("llama")
    merges = description["model"]["merges"]
    made = ["".join(merge) for merge in merges]
    twice = next(i for i in range(len(made)) if made[i] == made[i + 1])
    merges.append(merges.pop(twice))
    return description


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (changed("llama", normalizer={"type": "Lowercase"}), "normalises by .*Lowercase"),
        (changed("t5", pre_tokenizer={"type": "Punctuation"}), "splits by Punctuation"),
        (changed("gemma", pre_tokenizer={**SPLIT, "pattern": {"Regex": "a"}}), "splits by Split"),
        (changed("llama", pre_tokenizer=metaspace("always", True)), "across one"),
        (changed("llama", normalizer=None), "does not write spaces as"),
        (changed("llama", "model", dropout=0.1), "has dropout"),
        (changed("llama", "model", end_of_word_suffix="</w>"), "marks parts of words"),
        (changed("llama", "model", merges=[]), "in an order that no scores"),
        (reordered(), "in an order that no scores"),
        (changed("t5", "model", unk_id=None), "no token for what it does not know"),
        (changed("llama", added_tokens=own()), "'<own>', which takes the space"),
        (changed("gemma", added_tokens=own(lstrip=True)), "'<own>', which has lstrip"),
        (changed("llama", added_tokens=own(special=True, id=730)), "731 ids and the model only"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(description, message):
    with pytest.raises(UserError, match=message):
        of_description(description, {"eos_token_id": 2, "vocab_size": 720}, True)


def test_only_bytes_of_characters_that_have_tokens_need_none():
    config = {"eos_token_id": 2, "vocab_size": 720}
    description = sentence_pieces.description_of("llama")
    vocabulary = description["model"]["vocab"]
    assert "é" in vocabulary and "a" in vocabulary
    whole = of_description(description, config, True).encode("a tab\t")
    del vocabulary["<0x61>"]
    np.testing.assert_array_equal(
        of_description(description, config, True).encode("a tab\t"), whole
    )
    del vocabulary["<0xE9>"]
    with pytest.raises(UserError, match="no token for 1 of the 256 bytes"):
        of_description(description, config, True)


def test_it_is_not_learned():
    with pytest.raises(UserError, match="give the folder of the pretrained model"):
        tokenizers.train_tokenizer("pretrained_sentence_piece", iter(["a"]))
