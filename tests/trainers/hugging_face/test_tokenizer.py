"""Tokenizers written for Transformers and read again. Truth: the tokenizer that was written."""

import json

import numpy as np
import pytest

from tests.trainers.data.byte_pairs import varied
from trainers.data import tokenizers
from trainers.data.special_tokens import with_special_tokens
from trainers.hugging_face import tokenizer

TEXTS = varied(300)


@pytest.fixture(scope="module", params=["bytes", "bpe"])
def learned(request):
    texts = iter(TEXTS)
    return tokenizers.train_tokenizer(request.param, texts, vocabulary_size=400)


def write(learned, path):
    assert tokenizer.write(learned, str(path))
    config = {"model_type": "llama", "vocab_size": learned.vocabulary_size, "eos_token_id": 0}
    (path / "config.json").write_text(json.dumps(config))


def test_a_tokenizer_that_was_learned_here_comes_back(tmp_path, learned):
    write(learned, tmp_path)
    again = tokenizer.load(str(tmp_path))
    assert again.begins_texts
    assert tokenizer.begin_token(str(tmp_path), {"eos_token_id": 0}) == 0
    for one, other in zip(learned.encode_batch(TEXTS), again.encode_batch(TEXTS), strict=True):
        np.testing.assert_array_equal(one, other)
    graph = again.in_graph()
    assert graph.tokenize(TEXTS).to_list() == [ids.tolist() for ids in learned.encode_batch(TEXTS)]


def test_special_tokens_keep_their_ids(tmp_path, learned):
    special = with_special_tokens(learned, ["<|user|>", "<eos>", "<|assistant|>"])
    write(special, tmp_path)
    again = tokenizer.load(str(tmp_path))
    assert again.special_ids == {i: special.ids[i] for i in special.ids}
    talking = tokenizer.with_tokens_of(again, "{{ '<|user|>' }}")
    text = "<|user|>hello<|assistant|>"
    assert talking.special_tokens == ("<|user|>",)
    assert talking.encode(text)[0] == special.ids["<|user|>"]


def test_transformers_reads_it(tmp_path, learned, transformers):
    write(learned, tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(str(tmp_path))
    for text in TEXTS:
        ids = theirs(text)["input_ids"]
        assert ids == [0, *learned.encode(text)]
        assert theirs.decode(ids, True, clean_up_tokenization_spaces=False) == text


def test_other_tokenizers_are_not_written(tmp_path):
    words = tokenizers.train_tokenizer("words", iter(["a b"]))
    assert not tokenizer.write(words, str(tmp_path))
    assert not list(tmp_path.iterdir())
