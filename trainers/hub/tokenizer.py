"""Tokenizers of KerasHub's presets: byte-level BPE, and SentencePiece."""

import os
import re
from typing import NamedTuple

from trainers.data.pretrained_bpe import GPT2, PretrainedBpeTokenizer
from trainers.data.pretrained_sentence_piece import PretrainedSentencePieceTokenizer
from trainers.data.sentence_piece_model import SentencePieceModel
from trainers.errors import UserError
from trainers.hugging_face.folder import complete, read_json
from trainers.hugging_face.tokenizer import added_token, ids_of, rows, swapped

FILE, ASSETS = "tokenizer.json", os.path.join("assets", "tokenizer")
VOCABULARY, MERGES, MODEL = "vocabulary.json", "merges.txt", "vocabulary.spm"
SPECIAL = re.compile(r"<\|\w+\|>")  # as Llama 3, Qwen and others write their special tokens

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace("{1,3}", "")
LOWER, UPPER = r"\p{Ll}\p{Lm}\p{Lo}\p{M}", r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"
ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+{ENDING}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*{ENDING}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Kind(NamedTuple):
    """What the files of a preset do not say.

    Attributes:
      end: the token that ends texts.
      begin: the one that they begin with; None for none.
      pattern: what cuts texts, the model's own. KerasHub cuts all but Tekken by GPT-2's pattern in
        tf.data and by Llama 3's elsewhere.
      nfc: whether texts are brought into Unicode's normal form C.
      whole: whether a piece that is a token is one, whatever the merges say.
      prefix: whether `begin` is among the tokens of every text, as encoders read them.
    """

    end: str
    begin: str | None
    pattern: str = GPT2
    nfc: bool = False
    whole: bool = False
    prefix: bool = False


KINDS = {
    "GPT2Tokenizer": Kind("<|endoftext|>", "<|endoftext|>"),
    "OPTTokenizer": Kind("</s>", "</s>"),
    "FalconTokenizer": Kind("<|endoftext|>", "<|endoftext|>"),
    "BloomTokenizer": Kind("</s>", "<s>"),
    "Llama3Tokenizer": Kind("<|end_of_text|>", "<|begin_of_text|>", LLAMA3, whole=True),
    "SmolLM3Tokenizer": Kind("<|end_of_text|>", None, LLAMA3, whole=True),
    "QwenTokenizer": Kind("<|endoftext|>", None, QWEN, nfc=True),
    "QwenMoeTokenizer": Kind("<|endoftext|>", None, QWEN, nfc=True),
    "Qwen3Tokenizer": Kind("<|im_end|>", None, QWEN, nfc=True),
    "Qwen3MoeTokenizer": Kind("<|im_end|>", None, QWEN, nfc=True),
    "GptOssTokenizer": Kind("<|endoftext|>", None, O200K),
    "MistralTekkenTokenizer": Kind("</s>", "<s>", whole=True),  # whose file says its pattern
    "BartTokenizer": Kind("</s>", "<s>", prefix=True),
    "LlamaTokenizer": Kind("</s>", "<s>"),
    "MistralTokenizer": Kind("</s>", "<s>"),
    "MixtralTokenizer": Kind("</s>", "<s>"),
    "GemmaTokenizer": Kind("<eos>", "<bos>"),
    "Gemma3Tokenizer": Kind("<eos>", "<bos>"),
    "Phi3Tokenizer": Kind("<|endoftext|>", "<s>"),
    "T5Tokenizer": Kind("</s>", None),
}


def load(path, vocabulary_size):
    """The tokenizer of a preset's folder.

    Args:
      path: of the folder.
      vocabulary_size: of the model.

    Raises:
      UserError: it has none, or one that is not read here.
    """
    kind, source = read(path)
    begins = kind.begin is not None
    try:
        if isinstance(source, dict):
            prefix = ids_of(source)[kind.begin] if kind.prefix else None
            return PretrainedBpeTokenizer(source, kind.end, vocabulary_size, begins, prefix)
        ids = ids_in(source, kind)
        size = rows(vocabulary_size, source.size)
        return PretrainedSentencePieceTokenizer(
            source.content, ids[kind.end], ids, size, source.leading_space(), True, begins
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def begin_token(path):
    """Our id of the token that a text begins with, 0 where it is the end's or there is none."""
    kind, source = read(path)
    ids = ids_in(source, kind)
    return 0 if kind.begin is None else swapped(ids[kind.begin], ids[kind.end])


def eos_id(path):
    """The preset's id of the token that ends texts."""
    kind, source = read(path)
    return ids_in(source, kind)[kind.end]


def ids_in(source, kind):
    """{text: id}, of special tokens at least."""
    if isinstance(source, dict):
        return ids_of(source)
    named = {p.piece: i for i, p in enumerate(source.pieces) if p.piece in (kind.begin, kind.end)}
    return {**source.special_ids, **named}


def read(path):
    """(the `Kind` of a preset's tokenizer, what would stand in a tokenizer.json or the model).

    Raises:
      UserError: none, one of another kind, one without the tokens that it is to have.
    """
    file = os.path.join(path, FILE)
    described = read_json(file)
    if described is None:
        raise UserError(f"{path}: has no {FILE}; save it with its tokenizer, by the CausalLM")
    with complete(file):
        name, settings = described["class_name"], described["config"]
    if name not in KINDS:
        raise UserError(
            f"{path}: its tokenizer is a {name}; of presets of KerasHub are read {', '.join(KINDS)}"
            "; begin from that model as Transformers have it"
        )
    kind, folder = KINDS[name], os.path.join(path, ASSETS)
    try:
        if os.path.isfile(model := os.path.join(folder, MODEL)):
            source = SentencePieceModel(model)
        else:
            pattern = settings.get("split_pattern") or kind.pattern
            source = byte_pairs(folder, kind, pattern)
    except OSError as error:
        raise UserError(f"{path}: the tokenizer is not complete ({error})") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    known = ids_in(source, kind)
    for special in (kind.end, kind.begin):
        if special is not None and special not in known:
            raise UserError(f"{path}: the vocabulary of the tokenizer has no {special!r}")
    return kind, source


def byte_pairs(folder, kind, pattern):
    """What would stand in a tokenizer.json of Transformers."""
    vocabulary = read_json(os.path.join(folder, VOCABULARY))
    if vocabulary is None:
        raise UserError(f"the tokenizer is not complete: it has no {VOCABULARY}")
    with open(os.path.join(folder, MERGES), encoding="utf-8") as file:
        lines = file.read().split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    special = [t for t in vocabulary if t in (kind.begin, kind.end) or SPECIAL.fullmatch(t)]
    pieces = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {
        "added_tokens": [added_token(text, vocabulary[text]) for text in special],
        "normalizer": {"type": "NFC"} if kind.nfc else None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [cut, {**pieces, "use_regex": False}],
        },
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "vocab": vocabulary,
            "merges": merges,
            "ignore_merges": kind.whole,
        },
    }
