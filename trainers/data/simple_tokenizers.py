"""Tokenizers that need no training to speak of: bytes, characters, words."""

import collections

import numpy as np

from trainers.data.tokenizer_base import EOS, UNKNOWN, Tokenizer
from trainers.errors import UserError

# What `str.split` splits at, spelt out because TensorFlow's own split knows ASCII only.
WHITESPACE = (
    r"[\x{9}-\x{d}\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}"
    r"\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]+"
)
REPLACEMENT = "\ufffd"


class BytesTokenizer(Tokenizer):
    """Byte b of the text in UTF-8 has id b + 1."""

    kind = "bytes"
    vocabulary_size = 257

    @classmethod
    def train(cls, texts, vocabulary_size=None):
        return cls()

    def encode(self, text):
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32) + 1

    def decode_tokens(self, ids):
        return bytes(i - 1 for i in ids).decode("utf-8", "replace")

    def assets(self):
        return {}

    @classmethod
    def from_assets(cls, assets):
        return cls()

    def in_graph(self):
        import tensorflow as tf

        from trainers.data import graph_text

        class BytesInGraph(tf.Module):
            def tokenize(self, texts):
                return graph_text.byte_ids(texts)

            def detokenize(self, tokens):
                pieces = tf.constant([b"", *(bytes([b]) for b in range(256))])
                return graph_text.join(pieces, tokens)

        return BytesInGraph()


class CharactersTokenizer(Tokenizer):
    """Unicode characters, sorted by code point, from id 2 on; any other has id 1.

    Args:
      characters: of the vocabulary, in any order.
    """

    kind = "characters"

    def __init__(self, characters):
        self.characters = "".join(sorted(set(characters)))
        self.codes = np.array([ord(character) for character in self.characters], np.int32)
        self.vocabulary_size = len(self.characters) + 2

    @classmethod
    def train(cls, texts, vocabulary_size=None):
        characters = set()
        for text in texts:
            characters.update(text)
        return cls(characters)

    def encode(self, text):
        codes = np.frombuffer(text.encode("utf-32-le"), np.int32)
        index = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        return np.where(self.codes[index] == codes, index + 2, UNKNOWN).astype(np.int32)

    def decode_tokens(self, ids):
        return "".join(REPLACEMENT if i == UNKNOWN else self.characters[i - 2] for i in ids)

    def assets(self):
        return {"characters.txt": self.characters.encode()}

    @classmethod
    def from_assets(cls, assets):
        return cls(assets["characters.txt"].decode())

    def in_graph(self):
        import tensorflow as tf

        from trainers.data import graph_text

        codes = self.codes
        pieces = ["", REPLACEMENT, *self.characters]

        class CharactersInGraph(tf.Module):
            def tokenize(self, texts):
                decoded = tf.strings.unicode_decode(texts, "UTF-8")
                index, known = graph_text.index_in(codes, decoded.flat_values)
                return decoded.with_flat_values(tf.where(known, index + 2, UNKNOWN))

            def detokenize(self, tokens):
                return graph_text.join(tf.constant(pieces), tokens)

        return CharactersInGraph()


class WordsTokenizer(Tokenizer):
    """Words between whitespace, the most frequent first, from id 2 on; any other has id 1.

    The word `<unk>`, as some data sets have it, has id 1 too.

    Args:
      words: of the vocabulary, in the order of their ids.
    """

    kind = "words"

    def __init__(self, words):
        self.words = ["<eos>", "<unk>", *words]
        self.ids = {word: i for i, word in enumerate(self.words) if i != EOS}
        self.vocabulary_size = len(self.words)

    @classmethod
    def train(cls, texts, vocabulary_size=None):
        counts = collections.Counter()
        for text in texts:
            counts.update(text.split())
        del counts["<unk>"]
        words = sorted(counts, key=lambda word: (-counts[word], word))
        if vocabulary_size and vocabulary_size > len(words) + 2:
            raise UserError(
                f"VOCABULARY_SIZE = {vocabulary_size}: the text has only {len(words)} different "
                f"words; {len(words) + 2} is the largest that works, with <eos> and <unk>"
            )
        return cls(words[: vocabulary_size and max(vocabulary_size - 2, 0)])

    def encode(self, text):
        ids = self.ids
        return np.array([ids.get(word, UNKNOWN) for word in text.split()], np.int32)

    def decode_tokens(self, ids):
        return " ".join(self.words[i] for i in ids)

    def assets(self):
        return {"words.txt": "\n".join(self.words).encode()}

    @classmethod
    def from_assets(cls, assets):
        return cls(assets["words.txt"].decode().split("\n")[2:])

    def in_graph(self):
        import tensorflow as tf

        from trainers.data import graph_text

        ids = tf.lookup.KeyValueTensorInitializer(
            list(self.ids), np.array(list(self.ids.values()), np.int32)
        )
        words = self.words

        class WordsInGraph(tf.Module):
            def __init__(self):
                super().__init__()
                self.ids = tf.lookup.StaticHashTable(ids, UNKNOWN)

            def tokenize(self, texts):
                split = tf.strings.split(tf.strings.regex_replace(texts, WHITESPACE, " "))
                return split.with_flat_values(self.ids.lookup(split.flat_values))

            def detokenize(self, tokens):
                split = tf.gather(tf.constant(words), graph_text.before_end(tokens))
                return tf.strings.reduce_join(split, axis=1, separator=" ")

        return WordsInGraph()
