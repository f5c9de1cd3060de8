"""SentencePiece of checkpoints. Truth: Transformers where it is installed, else SentencePiece."""

import json

import numpy as np
import pytest

from tests.trainers.data import sentence_pieces
from tests.trainers.data.test_pretrained_sentence_piece import OTHERWISE, TEXTS
from trainers.data.special_tokens import with_special_tokens
from trainers.errors import UserError
from trainers.hugging_face import tokenizer

CONFIGS = {
    "llama": {"model_type": "llama", "eos_token_id": 2, "bos_token_id": 1, "vocab_size": 640},
    "gemma": {"model_type": "gemma", "eos_token_id": 1, "bos_token_id": 2, "vocab_size": 640},
    "t5": {"model_type": "t5", "eos_token_id": 1, "vocab_size": 528, "pad_token_id": 0},
}
CONFIGS["t5"] |= {"is_encoder_decoder": True, "decoder_start_token_id": 0}
CLASSES = {"llama": "LlamaTokenizer", "gemma": "GemmaTokenizer", "t5": "T5Tokenizer"}


@pytest.fixture
def write(tmp_path):
    """Writes a folder with a model of SentencePiece alone, and says where."""

    def write(kind, settings=None, **config):
        file = "spiece.model" if kind == "t5" else "tokenizer.model"
        (tmp_path / file).write_bytes(sentence_pieces.model_of(kind))
        (tmp_path / "config.json").write_text(json.dumps(CONFIGS[kind] | config))
        if settings is not None:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        return str(tmp_path)

    return write


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_model_alone_is_read_as_sentencepiece_reads_it(write, kind):
    import sentencepiece

    ours = tokenizer.load(write(kind))
    theirs = sentencepiece.SentencePieceProcessor(model_proto=sentence_pieces.model_of(kind))
    texts = [text for text in TEXTS if "\0" not in text][:400]
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        assert ours.swapped(ids).tolist() == theirs.encode(text)
        assert ours.decode(ids) == theirs.decode(ours.swapped(ids).tolist())


@pytest.mark.parametrize("kind", CONFIGS)
def test_special_tokens_of_a_model_alone_have_the_ids_of_the_checkpoint(write, kind):
    settings = {"legacy": False, "added_tokens_decoder": {"610": {"content": "<|user|>"}}}
    path = write(kind, settings, vocab_size=640)
    ours, config = tokenizer.load(path), CONFIGS[kind]
    assert ours.special_ids["<|user|>"] == 610 and ours.vocabulary_size == 640
    assert ours.special_ids["<unk>"] == {"llama": 2, "gemma": 3, "t5": 2}[kind]
    begin = tokenizer.begin_token(path, config)
    if kind == "t5":  # whose 100 more ids count down
        assert (ours.special_ids["<extra_id_99>"], ours.special_ids["<extra_id_0>"]) == (420, 519)
        assert begin == ours.special_ids["<pad>"] == 1
    else:
        assert ours.begins_texts and begin == ours.special_ids.get("<s>")
        assert ours.leading_space == ("first" if kind == "llama" else None)


def test_the_file_says_whether_texts_begin_with_a_token(write):
    path = write("llama", {"add_bos_token": False})
    assert not tokenizer.load(path).begins_texts
    assert tokenizer.begin_token(path, CONFIGS["llama"]) == 0


@pytest.mark.parametrize("kind", sentence_pieces.KINDS)
def test_a_description_comes_before_a_model_and_is_written_again(tmp_path, write, kind):
    path = write(sentence_pieces.KINDS[kind][0])
    description = sentence_pieces.description_of(kind)
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    ours = tokenizer.load(path)
    assert ours.description == description
    assert ours.begins_texts is (kind != "t5")
    special = with_special_tokens(ours, ["<|user|>", "<unk>"])
    assert tokenizer.write(special, path)
    again = tokenizer.load(write(sentence_pieces.KINDS[kind][0], vocab_size=641))
    assert again.special_ids["<|user|>"] == special.ids["<|user|>"]
    texts = TEXTS[:100]
    for one, other in zip(ours.encode_batch(texts), again.encode_batch(texts), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_model_alone_is_written_again(tmp_path, write, kind):
    ours = tokenizer.load(write(kind))
    special = with_special_tokens(ours, ["<|user|>"])
    size = special.vocabulary_size
    folder = tmp_path / "again"
    folder.mkdir()
    assert tokenizer.write(special, str(folder))
    (folder / "config.json").write_text(json.dumps(CONFIGS[kind] | {"vocab_size": size}))
    again = tokenizer.load(str(folder))
    assert again.model == ours.model and again.leading_space == ours.leading_space
    assert again.special_ids == {**ours.special_ids, "<|user|>": size - 1}


@pytest.mark.parametrize("kind", CONFIGS)
def test_ids_are_those_of_transformers(tmp_path, write, kind, transformers):
    path = write(kind, {"tokenizer_class": CLASSES[kind]})
    theirs = transformers.AutoTokenizer.from_pretrained(path)
    theirs.save_pretrained(path)
    ours = tokenizer.load(path)
    assert ours.description is not None
    theirs.backend_tokenizer.encode_special_tokens = True
    texts = [text for text in TEXTS if kind != "t5" or not OTHERWISE.search(text)]
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        expected = theirs(text, add_special_tokens=False)["input_ids"]
        assert ours.swapped(ids).tolist() == expected, repr(text)
    if kind == "t5":  # which ends every text
        assert theirs("ab")["input_ids"] == [*ours.swapped(ours.encode("ab")), ours.eos_id]
        assert ours.special_ids["<extra_id_7>"] == theirs.convert_tokens_to_ids("<extra_id_7>")


@pytest.mark.parametrize("kind", ["llama", "mistral", "t5"])
def test_transformers_reads_what_is_written(tmp_path, write, kind, transformers):
    source = sentence_pieces.KINDS[kind][0]
    path = write(source)
    (tmp_path / "tokenizer.json").write_text(json.dumps(sentence_pieces.description_of(kind)))
    ours = tokenizer.load(path)
    (tmp_path / "tokenizer.json").unlink()
    assert tokenizer.write(ours, path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(path)
    assert theirs.eos_token_id == ours.eos_id
    texts = [text for text in TEXTS[:300] if not OTHERWISE.search(text)]
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        found = theirs(text, add_special_tokens=False)["input_ids"]
        if not any(special in text for special in ours.special_ids):
            assert found == ours.swapped(ids).tolist(), repr(text)


def test_the_tokenizer_of_bart_is_read(tmp_path, transformers):
    from tests.trainers.data.byte_pairs import make

    model = make("gpt2")["model"]
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [text for text in model["vocab"] if not text.startswith("<|im")]
    vocabulary = {text: i for i, text in enumerate(dict.fromkeys([*special, *pieces, "<mask>"]))}
    theirs = transformers.BartTokenizer(
        vocab=vocabulary, merges=[tuple(merge) for merge in model["merges"]]
    )
    theirs.save_pretrained(str(tmp_path))
    config = {"model_type": "bart", "eos_token_id": 2, "vocab_size": len(theirs)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = tokenizer.load(str(tmp_path))
    for text, ids in zip(TEXTS, ours.encode_batch(TEXTS), strict=True):
        expected = theirs(text)["input_ids"]
        if not any(special in text for special in ours.special_ids):
            assert [0, *ours.swapped(ids), 2] == expected, repr(text)


def test_what_cannot_be_read_is_one_clear_line(tmp_path, write):
    with pytest.raises(UserError, match="the ids of a pegasus are others"):
        tokenizer.load(write("t5", model_type="pegasus"))
    with pytest.raises(UserError, match="has no token 99, the eos_token_id"):
        tokenizer.load(write("t5", eos_token_id=99))
    with pytest.raises(UserError, match="has 520 ids and the model only 500"):
        tokenizer.load(write("t5", vocab_size=500))
    path = write("t5")
    (tmp_path / "spiece.model").write_bytes(b"not a model")
    with pytest.raises(UserError, match="spiece.model is no model of SentencePiece"):
        tokenizer.load(path)
    (tmp_path / "spiece.model").unlink()
    with pytest.raises(UserError, match="has no tokenizer.json and no tokenizer.model or"):
        tokenizer.load(path)
