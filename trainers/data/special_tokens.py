"""Special tokens around any tokenizer: texts that are one token, and a character that divides.

A separator keeps what stands before it and behind it from sharing a token, and is dropped. So the
parts of a conversation have the tokens at inference that they had in training, and letters that
spell a special token are letters where separators stand between them (see chat.py).
"""

import json
import re

import numpy as np

from trainers.chat import EOS_TEXT
from trainers.data.tokenizer_base import EOS, GOES_ON, Tokenizer
from trainers.errors import UserError

SEPARATOR = "\ufdd0"  # one of the characters that Unicode has for internal use
FILE = "special_tokens.json"


class SpecialTokenizer(Tokenizer):
    """Another tokenizer, with special tokens behind its ids.

    Args:
      inner: the other tokenizer; special tokens that it knows have the ids that it gives them.
      special_tokens: texts of two characters or more, the others in the order of their ids; "<eos>"
        is the id that ends texts.
    """

    separator = SEPARATOR

    def __init__(self, inner, special_tokens):
        if getattr(inner, "prefix", None) is not None or inner.reads_answers_apart:
            raise UserError(
                "the tokenizer reads every text as a whole, and so has no special tokens between "
                "the parts of one: choose a task of text to text"
            )
        self.inner = inner
        self.kind = inner.kind
        self.begins_texts = inner.begins_texts
        self.leading_space = inner.leading_space
        self.special_tokens = tuple(special_tokens)
        known = {EOS_TEXT: EOS, **inner.special_ids}
        own = [text for text in self.special_tokens if text not in known]
        known |= {text: inner.vocabulary_size + i for i, text in enumerate(own)}
        self.ids = {text: known[text] for text in self.special_tokens}
        self.texts = {i: text for text, i in self.ids.items() if i != EOS}
        self.vocabulary_size = inner.vocabulary_size + len(own)
        self.pattern = pattern_of(self.ids)

    @property
    def plain(self):
        return self.inner

    def encode(self, text):
        return self.encode_batch([text])[0]

    def encode_batch(self, texts):
        divided = [self.pieces(text) for text in texts]
        plain = [piece for pieces in divided for piece in pieces if piece not in self.ids]
        read = iter(self.inner.encode_batch(plain) if plain else ())
        none = np.zeros(0, np.int32)
        return [
            np.concatenate(
                [none, *(np.array([self.ids[p]]) if p in self.ids else next(read) for p in pieces)]
            ).astype(np.int32)
            for pieces in divided
        ]

    def pieces(self, text):
        """The pieces of a text; those that go on from others say so to who reads them otherwise."""
        pieces = divide(text, self.pattern)
        if not self.leading_space:
            return pieces
        goes_on = False
        for i, piece in enumerate(pieces):
            special = piece in self.ids
            if goes_on and not special:
                pieces[i] = GOES_ON + piece
            goes_on = not special or self.leading_space == "first"
        return pieces

    def decode_tokens(self, ids):
        text, run = "", []
        for i in [*ids, None]:
            if i is None or i in self.texts:
                text += self.inner.decode_tokens(run) + self.texts.get(i, "")
                run = []
            else:
                run.append(i)
        return text

    def assets(self):
        listed = json.dumps(self.special_tokens, ensure_ascii=False)
        return {**self.inner.assets(), FILE: listed.encode()}

    def in_graph(self):
        import tensorflow as tf

        from trainers.data import graph_text

        ids, pattern, leading_space = self.ids, self.pattern, self.leading_space
        texts = self.texts
        is_special = np.isin(np.arange(self.vocabulary_size), list(texts))

        class SpecialInGraph(tf.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def tokenize(self, strings):
                if pattern:
                    apart = rf"{SEPARATOR}\1{SEPARATOR}"
                    strings = tf.strings.regex_replace(strings, pattern, apart)
                pieces = tf.strings.split(strings, sep=SEPARATOR)
                flat = pieces.flat_values
                special = tf.zeros_like(flat, tf.bool)
                token = tf.zeros_like(flat, tf.int32)
                for text, i in ids.items():
                    special |= flat == text
                    token = tf.where(flat == text, i, token)
                plain = tf.where(special, "", flat)
                if leading_space:
                    counted = (flat != "") if leading_space == "first" else (plain != "")
                    stretch = pieces.value_rowids()
                    if leading_space == "always":
                        stretch += tf.cumsum(tf.cast(special, tf.int64))
                    goes_on = counted_before(counted, stretch) > 0
                    plain = tf.where(goes_on & (plain != ""), GOES_ON + plain, plain)
                read = self.inner.tokenize(plain)
                counts = tf.cast(special, tf.int64)
                tokens = tf.RaggedTensor.from_row_lengths(token[special], counts)
                both = tf.concat([tf.cast(read, tf.int32), tokens], axis=1)
                return pieces.with_flat_values(both).merge_dims(1, 2)

            def detokenize(self, tokens):
                if not texts:
                    return self.inner.detokenize(tokens)
                rows = graph_text.before_end(tokens)
                flat, row = rows.flat_values, rows.value_rowids()
                special = tf.gather(is_special, flat)
                # A run is a special token, or all the others up to one or the end of the row.
                apart = special[1:] | special[:-1] | (row[1:] != row[:-1])
                begins = tf.concat([[True], apart], axis=0)[: tf.size(flat)]
                run = tf.cumsum(tf.cast(begins, tf.int64)) - 1
                runs = tf.reduce_sum(tf.cast(begins, tf.int64))
                plain = tf.RaggedTensor.from_value_rowids(flat[~special], run[~special], runs)
                said = self.inner.detokenize(plain)
                heads = flat[begins]
                for i, text in texts.items():
                    said = tf.where(heads == i, text, said)
                of_row = tf.RaggedTensor.from_value_rowids(said, row[begins], rows.nrows())
                return tf.strings.reduce_join(of_row, axis=1)

        return SpecialInGraph(self.inner.in_graph())


def with_special_tokens(tokenizer, special_tokens):
    """A tokenizer that knows separators, and these special tokens beside those it has."""
    return SpecialTokenizer(
        tokenizer.plain, dict.fromkeys([*tokenizer.special_tokens, *special_tokens])
    )


def counted_before(counted, stretch):
    """int32 [M], how many are counted before each, bool [M], in its stretch, ascending int64 [M]."""
    import tensorflow as tf

    before = tf.cumsum(tf.cast(counted, tf.int32), exclusive=True)
    return before - tf.gather(tf.math.segment_min(before, stretch), stretch)


def pattern_of(special_tokens):
    """A regular expression of one group for any of them, in Python and in TensorFlow."""
    # The longest first, as the first that fits is taken.
    longest = sorted(special_tokens, key=len, reverse=True)
    return f"({'|'.join(map(re.escape, longest))})" if longest else ""


def divide(text, pattern):
    """The pieces of a text: special tokens, and what stands between them and separators."""
    pieces = text.split(SEPARATOR)
    if pattern:
        pieces = [part for piece in pieces for part in re.split(pattern, piece)]
    return [piece for piece in pieces if piece]


def plain_pieces(texts, special_tokens):
    """What texts have beside special tokens and separators, to learn a tokenizer from."""
    pattern = pattern_of(special_tokens)
    for text in texts:
        yield from (piece for piece in divide(text, pattern) if piece not in special_tokens)
