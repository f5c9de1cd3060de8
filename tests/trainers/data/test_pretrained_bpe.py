"""Truth: the `tokenizers` library, by the same tokenizer.json."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.data.byte_pairs import BYTES, GPT2, KINDS, by, make, splits, varied
from trainers.data import pretrained_bpe, tokenizers
from trainers.data.pretrained_bpe import PretrainedBpeTokenizer
from trainers.errors import UserError


@pytest.fixture(scope="module", params=KINDS)
def pair(request):
    """(our tokenizer, that of the library without special tokens in texts)"""
    from tokenizers import Tokenizer

    description = make(request.param)
    theirs = Tokenizer.from_str(json.dumps(description))
    theirs.encode_special_tokens = True
    return PretrainedBpeTokenizer(description, "<|endoftext|>"), theirs


def test_a_prefix_stands_before_every_text_and_is_no_text():
    description = make("gpt2")
    plain = PretrainedBpeTokenizer(description, "<|endoftext|>")
    begin = plain.special_ids["<|im_start|>"]
    made = PretrainedBpeTokenizer(
        description, "<|endoftext|>", None, False, int(plain.swapped(begin))
    )
    made = PretrainedBpeTokenizer.from_assets(made.assets())
    texts = varied(20)
    expected = [[begin, *ids] for ids in plain.encode_batch(texts)]
    assert [ids.tolist() for ids in made.encode_batch(texts)] == expected
    graph = made.in_graph()
    assert graph.tokenize(texts).to_list() == expected
    assert made.decode(expected[-1]) == texts[-1]
    assert graph.detokenize(tf.constant([expected[-1]]))[0].numpy().decode() == texts[-1]


def test_ids_are_the_librarys_but_for_the_end_and_0(pair):
    ours, theirs = pair
    end = theirs.token_to_id("<|endoftext|>")
    assert ours.eos_id == end and ours.swapped(end) == 0 and ours.swapped(0) == end
    texts = varied(1000)
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        assert ours.swapped(ids).tolist() == theirs.encode(text, add_special_tokens=False).ids


def test_the_graph_has_the_same_ids_and_texts(pair):
    ours, _ = pair
    graph, texts = ours.in_graph(), varied(1000)
    found = tf.function(graph.tokenize)(tf.constant(texts)).to_list()
    for text, ids, expected in zip(texts, found, ours.encode_batch(texts), strict=True):
        assert ids == expected.tolist(), repr(text)
    back = tf.function(graph.detokenize)(tf.ragged.constant(found, tf.int32)).numpy()
    assert [text.decode() for text in back] == [ours.decode(ids) for ids in found]


def test_texts_come_back(pair):
    ours, theirs = pair
    for text in varied(200, seed=1):
        normal = theirs.normalizer.normalize_str(text) if theirs.normalizer else text
        assert ours.decode(ours.encode(text)) == normal


def test_saved_and_loaded_it_is_the_same(tmp_path, pair):
    ours, _ = pair
    ours.save(str(tmp_path / "tokenizer"))
    loaded = tokenizers.load(str(tmp_path / "tokenizer"))
    assert loaded.fingerprint == ours.fingerprint
    np.testing.assert_array_equal(loaded.encode("don't  stop"), ours.encode("don't  stop"))


def test_a_model_may_have_more_ids_than_the_file_and_not_fewer():
    description = make("gpt2")
    assert PretrainedBpeTokenizer(description, "<|endoftext|>", 640).vocabulary_size == 640
    with pytest.raises(UserError, match="602 ids and the model only 500"):
        PretrainedBpeTokenizer(description, "<|endoftext|>", 500)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "normalises by Lowercase"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "splits by Metaspace"),
        ({"pre_tokenizer": {**GPT2, "add_prefix_space": True}}, "splits by ByteLevel in a way"),
        ({"pre_tokenizer": by(splits(r"(?<=a)b"), BYTES)}, "whose lookahead TensorFlow has not"),
        ({"model": {"type": "WordPiece"}}, "is of the kind WordPiece"),
        (
            {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}},
            "no token for 255 of the 256",
        ),
        (
            {"model": make("gpt2")["model"] | {"merges": ["Ġ nothing"]}},
            "its vocabulary and merges cannot be read: ",
        ),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(change, message):
    with pytest.raises(UserError, match=message):
        PretrainedBpeTokenizer(make("gpt2") | change, "<|endoftext|>")
    with pytest.raises(UserError, match="no token '</s>', which is to end texts"):
        PretrainedBpeTokenizer(make("gpt2"), "</s>")


def test_classes_of_space_are_written_out():
    assert pretrained_bpe.explicit(r"[^\s\p{L}]+|\S") == (
        rf"[^{pretrained_bpe.SPACE}\p{{L}}]+|[^{pretrained_bpe.SPACE}]"
    )


def test_special_tokens_have_the_ids_of_the_file():
    from trainers.data.special_tokens import SEPARATOR, with_special_tokens

    description = make("llama3")
    plain = PretrainedBpeTokenizer(description, "<|endoftext|>")
    ours = with_special_tokens(plain, ["<|im_start|>", "<eos>", "<|new|>"])
    ids = {token["content"]: token["id"] for token in description["added_tokens"]}
    text = f"<|im_start|>user<eos><|new|><|im{SEPARATOR}_start|>"
    expected = [
        *[ids["<|im_start|>"], *plain.encode("user"), 0, plain.vocabulary_size],
        *[*plain.encode("<|im"), *plain.encode("_start|>")],
    ]
    assert ours.encode(text).tolist() == expected
    graph = ours.in_graph()
    assert graph.tokenize(tf.constant([text])).to_list() == [expected]
    shown = "<|im_start|>user<|new|>"
    ids = [i for i in ours.encode(shown).tolist() if i]
    assert ours.decode(ids) == shown
    assert graph.detokenize(tf.constant([ids])).numpy()[0].decode() == shown


def test_it_is_not_learned():
    with pytest.raises(UserError, match="give the folder of the pretrained model"):
        tokenizers.train_tokenizer("pretrained_bpe", iter(["a"]))
