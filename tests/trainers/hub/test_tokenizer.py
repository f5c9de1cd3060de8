"""Truth: `tokenizers` by the models' own tokenizer.json; KerasHub's SentencePiece."""

import json

import numpy as np
import pytest

from tests.trainers.data.byte_pairs import LLAMA3, make, splits, varied
from tests.trainers.data.sentence_pieces import model_of
from trainers.errors import UserError
from trainers.hub import tokenizer as presets

BYTE_PAIRS = {  # the kind of byte_pairs.py, or a pattern; the end and the beginning
    "GPT2Tokenizer": ("gpt2", "<|endoftext|>", "<|endoftext|>"),
    "OPTTokenizer": ("gpt2", "</s>", "</s>"),
    "FalconTokenizer": ("gpt2", "<|endoftext|>", "<|endoftext|>"),
    "BloomTokenizer": ("gpt2", "</s>", "<s>"),
    "Llama3Tokenizer": ("llama3", "<|end_of_text|>", "<|begin_of_text|>"),
    "SmolLM3Tokenizer": ("llama3", "<|end_of_text|>", None),
    "QwenTokenizer": ("qwen2", "<|endoftext|>", None),
    "QwenMoeTokenizer": ("qwen2", "<|endoftext|>", None),
    "Qwen3Tokenizer": ("qwen2", "<|im_end|>", None),
    "Qwen3MoeTokenizer": ("qwen2", "<|im_end|>", None),
    "GptOssTokenizer": (presets.O200K, "<|endoftext|>", None),
    "MistralTekkenTokenizer": (LLAMA3.replace("{1,3}", "{1,2}"), "</s>", "<s>"),
}
PIECES = {  # the model of sentence_pieces.py
    "LlamaTokenizer": ("llama", "</s>", "<s>"),
    "MistralTokenizer": ("llama", "</s>", "<s>"),
    "MixtralTokenizer": ("llama", "</s>", "<s>"),
    "GemmaTokenizer": ("gemma", "<eos>", "<bos>"),
    "Gemma3Tokenizer": ("gemma", "<eos>", "<bos>"),
    "Phi3Tokenizer": ("llama", "<|endoftext|>", "<s>"),
}
MORE = ["<pad>", "<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
MORE += ["<think>", "</think>"]


def written(name, folder, *args, **settings):
    import keras_hub

    theirs = getattr(keras_hub.tokenizers, name)(*args, **settings)
    theirs.save_to_preset(str(folder))
    return theirs


def named(name):
    """Bytes of a model whose special tokens have the names that a class demands."""
    from sentencepiece import sentencepiece_model_pb2

    source, end, begin = PIECES[name]
    proto = sentencepiece_model_pb2.ModelProto.FromString(model_of(source))
    for piece in proto.pieces:
        piece.piece = {"</s>": end, "<s>": begin}.get(piece.piece, piece.piece)
    return proto.SerializeToString()


@pytest.mark.parametrize("name", BYTE_PAIRS)
def test_byte_pairs_are_cut_as_the_model_was_trained(name, tmp_path):
    from tokenizers import Tokenizer

    kind, end, begin = BYTE_PAIRS[name]
    description = make(kind if kind in ("gpt2", "qwen2") else "llama3")
    settings = {}
    if name == "MistralTekkenTokenizer":
        settings = {"split_pattern": kind}
    vocabulary = dict(description["model"]["vocab"])
    for text in dict.fromkeys([end, *([begin] if begin else []), "<|endoftext|>", *MORE]):
        vocabulary.setdefault(text, len(vocabulary))
    merges = [" ".join(pair) for pair in description["model"]["merges"]]
    written(name, tmp_path, vocabulary, merges, **settings)
    ours = presets.load(str(tmp_path), len(vocabulary) + 8)
    assert (ours.eos_id, ours.begins_texts) == (vocabulary[end], begin is not None)
    expected = 0 if begin in (None, end) else ours.swapped(vocabulary[begin])
    assert presets.begin_token(str(tmp_path)) == expected

    if kind not in ("gpt2", "llama3", "qwen2"):
        description["pre_tokenizer"]["pretokenizers"][0] = splits(kind)
        description["model"]["ignore_merges"] = name != "GptOssTokenizer"
    theirs = Tokenizer.from_str(json.dumps({**description, "added_tokens": []}))
    texts = varied(1000)
    for text, found in zip(texts, ours.encode_batch(texts), strict=True):
        assert ours.swapped(found).tolist() == theirs.encode(text).ids, text
    some = texts[:150]
    assert ours.in_graph().tokenize(some).to_list() == [x.tolist() for x in ours.encode_batch(some)]


@pytest.mark.parametrize("name", PIECES)
def test_pieces_are_those_of_kerashub(name, tmp_path):
    settings = {"has_vision_tokens": False} if name == "Gemma3Tokenizer" else {}
    theirs = written(name, tmp_path, named(name), **settings)
    ours = presets.load(str(tmp_path), theirs.vocabulary_size() + 8)
    assert ours.eos_id == theirs.end_token_id
    assert presets.begin_token(str(tmp_path)) == ours.swapped(theirs.start_token_id)
    texts = varied(1000)
    for text, expected in zip(texts, theirs.tokenize(texts), strict=True):
        assert ours.swapped(ours.encode(text)).tolist() == np.asarray(expected).tolist(), text
    assert ours.decode(ours.encode("it's 123")) == "it's 123"


def test_what_a_tokenizer_lacks_is_one_clear_line(tmp_path):
    written("GemmaTokenizer", tmp_path, named("GemmaTokenizer"))
    with pytest.raises(UserError, match="the model only 10"):
        presets.load(str(tmp_path), 10)
    model = tmp_path / "assets/tokenizer/vocabulary.spm"
    whole = model.read_bytes()
    model.write_bytes(whole[:-3])
    with pytest.raises(UserError, match=r"vocabulary.spm is no model of SentencePiece, or not com"):
        presets.load(str(tmp_path), 1000)
    model.write_bytes(model_of("llama"))
    with pytest.raises(UserError, match="the vocabulary of the tokenizer has no '<eos>'"):
        presets.begin_token(str(tmp_path))
