"""Byte-level byte-pair encoding as it comes with pretrained models: GPT-2, Llama 3, Qwen, SmolLM.

`tokenizers` encodes by the model's own tokenizer.json; the same in TensorFlow goes into exports.
"""

import json
import re

import numpy as np

from trainers.data.byte_pair import byte_letters
from trainers.data.tokenizer_base import PretrainedTokenizer
from trainers.errors import UserError

FILE = "pretrained.json"
# What \\s means to Unicode; to RE2 it is less.
SPACE = r"\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
# GPT-2's pattern, which `ByteLevel` has without naming it.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LOOKAHEAD = r"\s+(?!\S)|"


class PretrainedBpeTokenizer(PretrainedTokenizer):
    """The tokenizer of a tokenizer.json, but that its end of a text has id 0, and 0 that of the end.

    Special tokens of the file are letters like others in texts, unless special_tokens.py makes
    them tokens.

    Args:
      description: what is in tokenizer.json, a dict.
      eos: the text of the token that ends texts.
      vocabulary_size: number of ids, for models with more rows than the file has tokens.
      begins_texts: see `Tokenizer`.
      prefix: id in the file of a token that stands before every text, as BART's do; or None.

    Raises:
      UserError: no byte-level BPE, or one that cannot be told to TensorFlow.
    """

    kind = "pretrained_bpe"

    def __init__(self, description, eos, vocabulary_size=None, begins_texts=True, prefix=None):
        from tokenizers import Tokenizer as Backend

        self.description, self.eos = description, eos
        self.begins_texts = begins_texts
        self.prefix = prefix
        self.parts = splitting(description)
        check(description)
        vocabulary = dict(description["model"]["vocab"])
        added = {token["content"]: token["id"] for token in description.get("added_tokens", ())}
        if eos not in vocabulary | added:
            raise UserError(f"tokenizer.json has no token {eos!r}, which is to end texts")
        self.eos_id = (vocabulary | added)[eos]
        self.vocabulary_size = max([*vocabulary.values(), *added.values(), -1]) + 1
        if vocabulary_size is not None:
            if vocabulary_size < self.vocabulary_size:
                raise UserError(
                    f"the tokenizer has {self.vocabulary_size} ids and the model only "
                    f"{vocabulary_size}: they are not of the same checkpoint"
                )
            self.vocabulary_size = vocabulary_size
        self.special_ids = {text: int(self.swapped(i)) for text, i in added.items()}
        self.vocabulary = {text: self.swapped(i) for text, i in vocabulary.items()}
        self.pieces = [b""] * self.vocabulary_size
        ordinary = {text: i for text, i in self.vocabulary.items() if text not in added}
        for piece, i in bytes_of(ordinary).items():
            self.pieces[i] = piece
        # Without the special tokens, so that their letters are letters.
        whole = json.dumps({**description, "added_tokens": []})
        try:
            self.backend = Backend.from_str(whole)
        except Exception as error:  # the library has no class of its own
            raise UserError(f"its vocabulary and merges cannot be read: {error}") from None

    def encode(self, text):
        return self.encode_batch([text])[0]

    def encode_batch(self, texts):
        encodings = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        before = [] if self.prefix is None else [self.prefix]
        return [self.swapped(np.array(before + e.ids, np.int32)) for e in encodings]

    def decode_tokens(self, ids):
        return b"".join(self.pieces[i] for i in ids).decode("utf-8", "replace")

    def assets(self):
        settings = {
            "description": self.description,
            "eos": self.eos,
            "vocabulary_size": self.vocabulary_size,
            "begins_texts": self.begins_texts,
            "prefix": self.prefix,
        }
        return {FILE: json.dumps(settings).encode()}

    @classmethod
    def from_assets(cls, assets):
        return cls(**json.loads(assets[FILE]))

    def merge_ids(self):
        pairs = [
            merge.split(" ") if isinstance(merge, str) else merge
            for merge in self.description["model"]["merges"]
        ]
        found = [[self.vocabulary[text] for text in (a, b, a + b)] for a, b in pairs]
        return np.array(found, np.int64).reshape([-1, 3])

    def in_graph(self):
        import tensorflow as tf
        import tensorflow_text

        from trainers.data.byte_pair_graph import BytePairInGraph

        def split(texts):
            if self.parts.nfc:
                texts = tensorflow_text.normalize_utf8(texts, "NFC")
            pieces = tf.RaggedTensor.from_row_lengths(texts, tf.ones_like(texts, tf.int64))
            for pattern in self.parts.cuts:
                # Byte 255 marks the cuts: UTF-8 has no use for it.
                marked = tf.strings.regex_replace(pieces.flat_values, pattern, b"\\1\xff\\2")
                parts = tf.strings.split(marked, sep=b"\xff")
                pieces = pieces.with_flat_values(parts).merge_dims(1, 2)
            return tf.ragged.boolean_mask(pieces, pieces != "")

        byte_ids = [self.vocabulary[letter] for letter in byte_letters()]
        whole = self.vocabulary if self.description["model"].get("ignore_merges") else {}
        prefix = None if self.prefix is None else int(self.swapped(self.prefix))
        return BytePairInGraph(
            byte_ids, self.merge_ids(), self.pieces, split, bytes_of(whole), prefix
        )


def bytes_of(vocabulary):
    """{bytes: id} of the texts in letters that stand for bytes."""
    byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
    return {
        bytes(byte_of[letter] for letter in text): i
        for text, i in vocabulary.items()
        if all(letter in byte_of for letter in text)
    }


def check(description):
    """Raises UserError for a model that is no byte-level BPE as it is read here."""
    model = description.get("model", {})
    if model.get("type", "BPE") != "BPE" or model.get("byte_fallback"):
        raise UserError(
            f"tokenizer.json is of the kind {model.get('type')}; byte-level BPE and SentencePiece can be read"
        )
    if model.get("dropout") or model.get("continuing_subword_prefix") or model.get("unk_token"):
        raise UserError(
            "tokenizer.json has a dropout, a prefix or an unknown token, as bytes need not"
        )
    missing = [letter for letter in byte_letters() if letter not in model.get("vocab", {})]
    if missing:
        raise UserError(f"tokenizer.json has no token for {len(missing)} of the 256 bytes")


class Splitting:
    """How texts are cut before they are merged.

    Attributes:
      nfc: whether texts are brought into Unicode's normal form C.
      cuts: regular expressions of RE2, one after the other, with a cut between their two groups.
    """

    def __init__(self, nfc, cuts):
        self.nfc = nfc
        self.cuts = cuts


def splitting(description):
    """The `Splitting` of a tokenizer.json.

    Raises:
      UserError: one that RE2 cannot do, or that is not known.
    """
    normalizer = description.get("normalizer")
    kinds = [step["type"] for step in steps_of(normalizer, "normalizers")]
    if set(kinds) - {"NFC"}:
        raise UserError(f"tokenizer.json normalises by {kinds[0]}, which is not known here")
    cuts = []
    for step in steps_of(description.get("pre_tokenizer"), "pretokenizers"):
        kind = step["type"]
        if kind == "Digits" and step.get("individual_digits"):
            cuts += [r"(\p{N})()", r"([^\p{N}])(\p{N})"]
        elif kind == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
            pattern = step["pattern"]
            if "Regex" not in pattern:
                raise UserError("tokenizer.json splits at a text, which is not known here")
            cuts += cuts_of(pattern["Regex"])
        elif kind == "ByteLevel" and not step.get("add_prefix_space"):
            if step.get("use_regex", True):
                cuts += cuts_of(GPT2)
        else:
            raise UserError(f"tokenizer.json splits by {kind} in a way that is not known here")
    return Splitting("NFC" in kinds, cuts)


def steps_of(given, name):
    if not given:
        return []
    return given[name] if given["type"] == "Sequence" else [given]


def cuts_of(pattern):
    r"""The cuts of RE2 for a pattern of GPT-2's kind, each match of which is a piece.

    RE2 has no lookahead. `\s+(?!\S)` takes white space but for its last character before a word;
    instead that run is cut there first, and then `\s+` takes what is left of it. Where line ends are
    pieces of their own (`\s*[\r\n]+`), they do not count among the run.
    """
    if LOOKAHEAD in pattern:
        space = SPACE if r"\s*[\r\n]+" not in pattern else SPACE.replace(r"\t-\r", r"\t\x{b}\x{c}")
        first = [rf"([{space}]+)([{space}][^{SPACE}])"]
    else:
        first = []
    pattern = pattern.replace(LOOKAHEAD, "")
    if re.search(r"\(\?[=!<]", pattern):
        raise UserError(f"tokenizer.json splits by {pattern!r}, whose lookahead TensorFlow has not")
    return [*first, rf"({explicit(pattern)})()"]


def explicit(pattern):
    r"""A pattern in which \s and \S say which characters they are."""
    found, inside, i = "", False, 0
    while i < len(pattern):
        two = pattern[i : i + 2]
        if two == r"\s":
            found += SPACE if inside else f"[{SPACE}]"
        elif two == r"\S":
            if inside:
                raise UserError(f"tokenizer.json splits by {pattern!r}, which is not known here")
            found += f"[^{SPACE}]"
        elif two.startswith("\\"):
            found += two
        else:
            inside = two[0] == "[" or (inside and two[0] != "]")
            found += two[0]
            i -= 1
        i += 2
    return found
