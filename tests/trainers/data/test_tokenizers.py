"""The truth about in-graph tokenizers is `encode` and `decode`: they must agree, id for id."""

import json
import os
import random
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from trainers.data import simple_tokenizers, tokenizers
from trainers.data.pretrained_sentence_piece import PretrainedSentencePieceTokenizer
from trainers.errors import UserError

SIZES = {"bytes": None, "characters": None, "words": 100, "bpe": 400}
SIZES |= {"unigram": 390, "sentencepiece_bpe": 420}
PRETRAINED = "pretrained_sentence_piece"
LOSSLESS = ["bytes", "bpe", "unigram", "sentencepiece_bpe"]

CODE = '''\
def tokenize(self, text, *, limit=None):
    """Splits `text`; the café's naïve way."""
    words = []
    for number, word in enumerate(text.split(" ")):
\tif number == 12345 and word != 'don\\'t':
            words.append(word.lower()[:limit])  # 日本語、テスト。
    return {"words": words, "count": len(words)}


'''
GERMAN = "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.\r\n"
CHOSEN = [
    "",
    " ",
    "   trailing   ",
    "\n\n\n",
    "\t\tif x:\r\n\t\t\treturn\r\n",
    "\x00",
    "a\x00b \x01\x7f\x80\x85",
    "no\u00a0break\u3000wide\u2028line\x1cfile\x1funit",
    "<eos> <unk> </s> <0x41> ▁ ▁▁a",
    "日本語テキスト、です。全角，ＡＢＣ！",
    "😀😃 👩‍👩‍👧 🇩🇪 e\u0301 ﬁ ½ ①",
    "१२३ ٣٤ ६abc६ Ĵ",
    "\ufeffmark \ufffd \uffff \U0010ffff",
    "don't I'LL 'quoted' f'x' _private __init__ self._x 0xFF 3.14159",
    "a" * 100 + " " * 100 + "ab" * 50,
]


def varied_texts(count):
    rng = random.Random(0)
    alphabet = "ab c\n\t \r'\"_.,;:019(){}éßñ日本😀\x00▁६\u00a0\u3000\u2009<>"
    texts = list(CHOSEN)
    while len(texts) < count:
        length = rng.randrange(40)
        texts.append("".join(rng.choices(alphabet, k=length)))
        points = [*range(0xD800), *range(0xE000, 0x110000)]
        texts.append("".join(map(chr, rng.choices(points, k=length))))
        start = rng.randrange(len(CODE))
        texts.append((CODE + GERMAN)[start : start + rng.randrange(200)])
    return texts


TEXTS = varied_texts(1000)


@pytest.fixture(scope="module")
def trained():
    texts = [CODE, GERMAN, "the <unk> word", *CHOSEN[10:], *TEXTS[17:200:3]]
    learned = {
        kind: tokenizers.train_tokenizer(kind, iter(texts), size) for kind, size in SIZES.items()
    }
    # Another end than the file's, to change places with 0.
    model, size = learned["sentencepiece_bpe"].model, SIZES["sentencepiece_bpe"]
    special = {"<unk>": 1, "</s>": size}
    learned[PRETRAINED] = PretrainedSentencePieceTokenizer(
        model, size, special, size + 1, leading_space="first"
    )
    return learned


@pytest.fixture(params=[*SIZES, PRETRAINED])
def tokenizer(request, trained):
    return trained[request.param]


def test_the_graph_gives_the_same_ids(tokenizer):
    tokenize = tf.function(
        tokenizer.in_graph().tokenize, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    in_graph = tokenize(tf.constant(TEXTS))
    assert in_graph.dtype == tf.int32
    outside = tokenizer.encode_batch(TEXTS)
    assert [list(ids) for ids in outside] == in_graph.to_list()
    assert all(ids.dtype == np.int32 for ids in outside)
    assert [list(tokenizer.encode(text)) for text in TEXTS[:50]] == in_graph.to_list()[:50]
    assert tokenize(tf.constant([], tf.string)).to_list() == []


def test_the_graph_gives_the_same_text_of_any_tokens(tokenizer):
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, tokenizer.vocabulary_size, rng.integers(12)) for _ in range(200)]
    rows = [row.tolist() for row in rows] + [list(ids) for ids in tokenizer.encode_batch(TEXTS)]
    detokenize = tokenizer.in_graph().detokenize
    in_graph = detokenize(tf.ragged.constant(rows, dtype=tf.int32, ragged_rank=1))
    assert [text.decode() for text in in_graph.numpy()] == [tokenizer.decode(row) for row in rows]


def test_the_graph_reads_up_to_the_first_end_of_text(tokenizer):
    ids = list(tokenizer.encode("for word in words"))
    text = tokenizer.decode(ids)
    dense = tf.constant([[*ids, 0, 5, 0], [*ids[:1], 0, 0, *ids[:-1], 9]], tf.int32)
    detokenize = tokenizer.in_graph().detokenize
    expected = [text.encode(), tokenizer.decode(ids[:1]).encode()]
    assert list(detokenize(dense).numpy()) == expected
    assert list(detokenize(tf.RaggedTensor.from_tensor(dense)).numpy()) == expected
    assert list(detokenize(tf.zeros([2, 0], tf.int32)).numpy()) == [b"", b""]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_nothing_is_lost(kind, trained):
    tokenizer = trained[kind]
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(TEXTS)] == TEXTS


def test_no_text_becomes_the_end_of_text(tokenizer):
    assert not any(0 in ids for ids in tokenizer.encode_batch(TEXTS))


def test_ids_lie_in_the_vocabulary(tokenizer):
    ids = np.concatenate(tokenizer.encode_batch(TEXTS))
    assert ids.min() >= 1 and ids.max() < tokenizer.vocabulary_size
    size = SIZES.get(tokenizer.kind)
    assert size is None or tokenizer.vocabulary_size == size


def test_a_saved_tokenizer_is_the_same_after_loading(tokenizer, tmp_path):
    folder = str(tmp_path / "tokenizer")
    tokenizer.save(folder)
    tokenizer.save(folder)
    assert os.listdir(tmp_path) == ["tokenizer"]
    for loaded in (tokenizers.load(folder), tokenizers.train_tokenizer(folder, iter([]))):
        assert loaded.fingerprint == tokenizer.fingerprint
        assert loaded.vocabulary_size == tokenizer.vocabulary_size
        for text in CHOSEN:
            np.testing.assert_array_equal(loaded.encode(text), tokenizer.encode(text))


def test_a_changed_or_missing_file_is_noticed(tokenizer, tmp_path):
    folder = tmp_path / "tokenizer"
    with pytest.raises(UserError, match="no tokenizer can be loaded"):
        tokenizers.load(str(folder))
    tokenizer.save(str(folder))
    meta = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**meta, "fingerprint": "other"}))
    with pytest.raises(UserError, match="changed after saving"):
        tokenizers.load(str(folder))


def test_an_export_loads_with_tensorflow_and_tensorflow_text_alone(trained, tmp_path):
    strings = tf.TensorSpec([None], tf.string)
    expected = {}
    for kind, tokenizer in trained.items():
        module = tokenizer.in_graph()
        module.tokenize = tf.function(module.tokenize, input_signature=[strings])
        tokens = tf.TensorSpec([None, None], tf.int32)
        module.detokenize = tf.function(module.detokenize, input_signature=[tokens])
        tf.saved_model.save(module, str(tmp_path / kind))
        expected[kind] = [list(map(int, tokenizer.encode(text))) for text in CHOSEN]
    (tmp_path / "expected.json").write_text(json.dumps([CHOSEN, expected]))
    program = """
import json, sys
import tensorflow as tf, tensorflow_text
texts, expected = json.load(open("expected.json"))
for kind, ids in expected.items():
    module = tf.saved_model.load(kind)
    tokens = module.tokenize(tf.constant(texts))
    assert tokens.to_list() == ids, kind
    if kind not in ("characters", "words", "pretrained_sentence_piece"):
        assert [t.decode() for t in module.detokenize(tokens.to_tensor()).numpy()] == texts, kind
assert not {"trainers", "keras_hub", "tokenizers", "sentencepiece"} & set(sys.modules)
"""
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
    run = [sys.executable, "-c", program]
    subprocess.run(run, cwd=tmp_path, env=environment, check=True)


def test_ids_of_bytes_and_characters_are_as_documented():
    assert list(simple_tokenizers.BytesTokenizer().encode("Aé")) == [66, 0xC3 + 1, 0xA9 + 1]
    characters = tokenizers.train_tokenizer("characters", iter(["cab", "é"]))
    assert list(characters.encode("abcéx")) == [2, 3, 4, 5, 1]
    assert characters.decode([2, 1]) == "a\ufffd"


def test_words_are_counted_as_the_papers_count_them():
    words = tokenizers.train_tokenizer("words", iter(["b a b <unk>\n", "c <eos>"]))
    # <eos>, <unk>, then b before a, c and the word "<eos>", which is no end of text.
    assert words.vocabulary_size == 6
    assert list(words.encode("b <unk> nothing a c <eos>")) == [2, 1, 1, 4, 5, 3]
    assert words.decode([2, 1, 4, 0]) == "b <unk> a"


def test_words_are_split_where_python_splits_them(trained):
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    text = "x".join(points)
    words = simple_tokenizers.WordsTokenizer(["x"])
    in_graph = words.in_graph().tokenize(tf.constant([text]))
    assert in_graph.row_lengths().numpy() == [len(text.split())]


def test_byte_pairs_are_split_alike_at_every_code_point(trained):
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    tokenizer = trained["bpe"]
    tokenize = tf.function(tokenizer.in_graph().tokenize)
    for start in range(0, len(points), 1 << 17):
        text = " a1".join(points[start : start + (1 << 17)])
        np.testing.assert_array_equal(tokenize(tf.constant([text]))[0], tokenizer.encode(text))


def test_byte_pairs_take_a_line_end_with_its_indentation():
    lines = "if x:\n        return\n    else:\n        return y\n" * 20
    bpe = tokenizers.train_tokenizer("bpe", iter([lines]), 270)
    assert "\n        " in [bpe.decode([i]) for i in range(257, 270)]


@pytest.mark.parametrize("kind", ["words", "bpe", "unigram", "sentencepiece_bpe"])
def test_a_vocabulary_too_large_for_the_text_names_the_largest_that_works(kind):
    texts = [CODE, GERMAN]
    with pytest.raises(UserError, match="the largest that works") as info:
        tokenizers.train_tokenizer(kind, iter(texts), 50_000)
    largest = int(re.search(r"(\d+),? (is )?the largest that works", str(info.value))[1])
    assert tokenizers.train_tokenizer(kind, iter(texts), largest).vocabulary_size == largest


def test_what_a_tokenizer_needs_is_said(tmp_path):
    with pytest.raises(UserError, match="'letters': neither a folder .* nor one of bytes, char"):
        tokenizers.train_tokenizer("letters", iter([]))
    with pytest.raises(UserError, match="TOKENIZER = 'bpe' needs a VOCABULARY_SIZE"):
        tokenizers.train_tokenizer("bpe", iter(["a"]))
    for kind in ("bpe", "unigram", "sentencepiece_bpe"):
        with pytest.raises(UserError, match="VOCABULARY_SIZE = 100: "):
            tokenizers.train_tokenizer(kind, iter([CODE]), 100)


def test_subwords_are_learned_from_no_more_text_than_asked():
    read = []

    def texts():
        for text in [CODE] * 10:
            read.append(text)
            yield text

    tokenizers.train_tokenizer("bpe", texts(), 300, max_characters=len(CODE) + 1)
    assert len(read) == 2
