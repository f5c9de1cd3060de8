"""Byte-level byte-pair encoding (Sennrich et al. 2016, Radford et al. 2019).

`tokenizers` trains and encodes; the same splitting and merging in TensorFlow goes into
exports. Splitting at a pattern comes first, so the pattern must mean the same to
RE2 (TensorFlow) and to Oniguruma (`tokenizers`): it has no lookahead, and code points by
number, since classes such as \\p{L} change with the version of Unicode.
"""

import functools

import numpy as np

from trainers.data.tokenizer_base import Tokenizer
from trainers.errors import UserError

DIGIT = "0-9"
WHITE = r"\x{9}-\x{d}\x{20}"
# From U+00C0 on everything, except punctuation and symbols (U+2000), CJK punctuation
# (U+3000), full-width punctuation (U+FF00) and pictographs (U+1F000).
LETTER = (
    r"A-Za-z\x{c0}-\x{1fff}\x{2c00}-\x{2fff}\x{3040}-\x{feff}\x{ff21}-\x{1efff}"
    r"\x{20000}-\x{10ffff}"
)
# A word with the one character before it (" word", "_name", ".append", "'t"); up to three
# digits; punctuation; white space, so that a line end and its indentation are one piece.
PATTERN = (
    rf"[^\r\n{LETTER}{DIGIT}]?[{LETTER}]+"
    rf"| ?[{DIGIT}]{{1,3}}"
    rf"| ?[^{WHITE}{LETTER}{DIGIT}]+"
    rf"|[{WHITE}]+"
)
BYTE_IDS = 257


def byte_letters() -> list[str]:
    """The printable character that stands for each byte in merges (GPT-2's `bytes_to_unicode`)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    letters |= {byte: chr(0x100 + i) for i, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]


class BytePairTokenizer(Tokenizer):
    """Byte b has id b + 1, as in BytesTokenizer; what merges make follows, from id 257 on.

    Args:
      merges: pairs of strings of `byte_letters`, the first to be merged first.
    """

    kind = "bpe"
    learns_subwords = True

    def __init__(self, merges):
        from tokenizers import Tokenizer as Backend
        from tokenizers.models import BPE

        self.merges = [tuple(merge) for merge in merges]
        letters = byte_letters()
        # Two merges may make the same string: it has one id.
        strings = list(dict.fromkeys([*letters, *(a + b for a, b in self.merges)]))
        self.ids = {string: i for i, string in enumerate(strings, 1)}
        byte_of = {letter: byte for byte, letter in enumerate(letters)}
        self.pieces = [b"", *(bytes(byte_of[letter] for letter in s) for s in strings)]
        self.vocabulary_size = len(self.pieces)
        self.backend = Backend(BPE(self.ids, self.merges))
        self.backend.pre_tokenizer = pre_tokenizer()

    @classmethod
    def train(cls, texts, vocabulary_size):
        import json

        from tokenizers import Tokenizer as Backend
        from tokenizers import models, trainers

        if vocabulary_size < BYTE_IDS:
            raise UserError(
                f"VOCABULARY_SIZE = {vocabulary_size}: byte-pair encoding needs at least "
                f"{BYTE_IDS}, the bytes and <eos>"
            )
        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizer()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary_size - 1, initial_alphabet=byte_letters(), show_progress=False
        )
        backend.train_from_iterator(texts, trainer)
        tokenizer = cls(json.loads(backend.to_str())["model"]["merges"])
        if tokenizer.vocabulary_size < vocabulary_size:
            raise UserError(
                f"VOCABULARY_SIZE = {vocabulary_size}: the text has pairs for no more than "
                f"{tokenizer.vocabulary_size}, the largest that works"
            )
        return tokenizer

    def encode(self, text):
        return self.encode_batch([text])[0]

    def encode_batch(self, texts):
        return [np.array(e.ids, np.int32) for e in self.backend.encode_batch_fast(texts)]

    def bytes_of_words(self, texts):
        """(ids, words, counts): int64 [M] each text's bytes, int64 [M] the word of all that each
        is of, int [N] how many words a text has."""
        encodings = self.bytes_backend.encode_batch(texts)  # the fast one knows no words
        parts = [np.array(e.word_ids, np.int64) for e in encodings]
        counts = [int(part[-1]) + 1 if len(part) else 0 for part in parts]
        firsts = np.cumsum([0, *counts])
        words = [part + first for part, first in zip(parts, firsts[:-1], strict=True)]
        ids = [np.array(e.ids, np.int64) for e in encodings]
        none = np.zeros(0, np.int64)
        return np.concatenate([none, *ids]), np.concatenate([none, *words]), counts

    @functools.cached_property
    def bytes_backend(self):
        """Splits, and merges nothing."""
        from tokenizers import Tokenizer as Backend
        from tokenizers.models import BPE

        backend = Backend(BPE(self.ids, []))
        backend.pre_tokenizer = pre_tokenizer()
        return backend

    def merge_ids(self):
        """int64 [R, 3], the ids of both parts of a merge and of what it makes."""
        found = [(self.ids[a], self.ids[b], self.ids[a + b]) for a, b in self.merges]
        return np.array(found, np.int64).reshape([-1, 3])

    def decode_tokens(self, ids):
        return b"".join(self.pieces[i] for i in ids).decode("utf-8", "replace")

    def assets(self):
        return {"merges.txt": "".join(f"{a} {b}\n" for a, b in self.merges).encode()}

    @classmethod
    def from_assets(cls, assets):
        lines = assets["merges.txt"].decode().split("\n")[:-1]
        return cls([line.split(" ") for line in lines])

    def in_graph(self):
        import tensorflow as tf

        from trainers.data.byte_pair_graph import BytePairInGraph

        def split(texts):
            # Byte 255 marks the cuts: UTF-8 has no use for it.
            marked = tf.strings.regex_replace(texts, f"({PATTERN})", b"\\1\xff")
            return tf.strings.split(marked, sep=b"\xff")[:, :-1]

        return BytePairInGraph([*range(1, BYTE_IDS)], self.merge_ids(), self.pieces, split)


def pre_tokenizer():
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    return pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
