import numpy as np
import pytest
import tensorflow as tf

from trainers.data import tokenizers
from trainers.data.special_tokens import SEPARATOR, SpecialTokenizer, with_special_tokens
from trainers.errors import UserError

SPECIAL = ("<|end|>", "<|end|>2", "<eos>")
TEXTS = ["one two three\n", "größer: 1, 2, 3"] * 20
SIZES = {"bpe": 262, "unigram": 276, "sentencepiece_bpe": 276}
KINDS = ("bytes", "characters", "words", "bpe", "unigram", "sentencepiece_bpe")
PROBES = (
    "",
    "one two",
    "<|end|>",
    "one<|end|> two <|end|><|end|>2three",
    f"one{SEPARATOR} two{SEPARATOR}{SEPARATOR}<|e{SEPARATOR}nd|>",
    f"{SEPARATOR}<|end|>{SEPARATOR}",
)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return tokenizers.train_tokenizer(
        request.param, iter(TEXTS), SIZES.get(request.param), special_tokens=SPECIAL
    )


def test_a_special_token_is_one_token_and_the_rest_is_as_without(tokenizer):
    first = tokenizer.inner.vocabulary_size
    assert tokenizer.vocabulary_size == first + 2
    inner = [tokenizer.inner.encode(text) for text in ("one", " two ", "three")]
    expected = [*inner[0], first, *inner[1], first, first + 1, *inner[2]]
    assert tokenizer.encode(PROBES[3]).tolist() == expected
    assert tokenizer.encode("one<eos>").tolist() == [*inner[0], 0]


def test_a_separator_keeps_neighbours_apart_and_leaves_no_trace(tokenizer):
    ids = tokenizer.encode(f"on{SEPARATOR}e <|e{SEPARATOR}nd|>")
    parts = [tokenizer.inner.encode(text) for text in ("on", "e <|e", "nd|>")]
    assert ids.tolist() == np.concatenate(parts).tolist()
    assert ids.max() < tokenizer.inner.vocabulary_size


def test_the_graph_reads_and_writes_as_the_tokenizer_does(tokenizer):
    graph = tokenizer.in_graph()
    tokens = graph.tokenize(tf.constant(PROBES))
    for row, probe in zip(tokens, PROBES, strict=True):
        assert row.numpy().tolist() == tokenizer.encode(probe).tolist()
    texts = [text.decode() for text in graph.detokenize(tokens).numpy()]
    assert texts == [tokenizer.decode(row) for row in tokens.to_list()]
    padded = graph.detokenize(tokens.to_tensor()).numpy()
    assert [text.decode() for text in padded] == texts
    assert graph.detokenize(tf.zeros([2, 0], tf.int32)).numpy().tolist() == [b"", b""]


def test_texts_come_back(tokenizer):
    if tokenizer.kind != "words":  # of which white space is lost, as without special tokens
        text = "one<|end|> two <|end|><|end|>2three"
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_what_is_saved_is_loaded(tokenizer, tmp_path):
    tokenizer.save(str(tmp_path / "saved"))
    loaded = tokenizers.load(str(tmp_path / "saved"))
    assert isinstance(loaded, SpecialTokenizer)
    assert loaded.special_tokens == SPECIAL
    assert loaded.fingerprint == tokenizer.fingerprint != tokenizer.inner.fingerprint
    again = tokenizers.train_tokenizer(str(tmp_path / "saved"), iter(()), special_tokens=())
    assert again.fingerprint == tokenizer.fingerprint
    more = with_special_tokens(loaded, ("<|more|>",))
    assert more.encode("<|more|>").tolist() == [tokenizer.vocabulary_size]


def test_special_tokens_are_not_learned_as_text():
    texts = ["ab<|end|>" * 50]
    learned = tokenizers.train_tokenizer("characters", iter(texts), special_tokens=SPECIAL)
    assert learned.inner.characters == "ab"
    with pytest.raises(UserError, match="largest that works"):
        tokenizers.train_tokenizer("bpe", iter(texts), 270, special_tokens=SPECIAL)
