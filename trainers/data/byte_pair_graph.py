"""Byte-pair encoding as operations of TensorFlow, of any table of merges."""

import tensorflow as tf

from trainers.data import graph_text
from trainers.data.merges import merge_table, together


class BytePairInGraph(tf.Module):
    """Splits texts, and merges within each piece the pair that ranks lowest, over and over.

    Args:
      byte_ids: int32 [256], the id of each byte.
      merges: int [R, 3], the ids of two pieces and of what they become, the first to be merged first.
      pieces: list of bytes, the bytes of each id.
      split: function of string [N] to ragged string [N, None], the pieces that share no token.
      whole: {bytes: id} of pieces that are not merged, for they are known as they are.
      prefix: id of a token that stands before every text; or None.
    """

    def __init__(self, byte_ids, merges, pieces, split, whole=None, prefix=None):
        super().__init__()
        self.prefix = prefix
        self.whole = self.table(whole) if whole else None
        self.byte_ids = byte_ids
        self.pieces = pieces
        self.split = split
        self.size = len(pieces)
        self.pairs, self.ranks, self.merged = merge_table(merges, self.size)
        self.together = together(merges, self.size)
        self.none = len(merges)

    def tokenize(self, texts):
        split = self.split(texts)
        raw = graph_text.byte_ids(split.flat_values)
        ids, words = raw.flat_values, tf.cast(raw.value_rowids(), tf.int32)
        ids = tf.gather(tf.constant(self.byte_ids, tf.int32), ids - 1)
        if self.whole is not None:
            ids, words = self.with_whole(split.flat_values, ids, words)
        ids, words, _ = tf.while_loop(
            lambda ids, words, rank: tf.reduce_any(rank < self.none),
            self.merge_once,
            [ids, words, self.rank_of_pairs(ids, words)],
            shape_invariants=[tf.TensorShape([None])] * 3,
        )
        rows = tf.gather(tf.cast(split.value_rowids(), tf.int32), words)
        tokens = tf.RaggedTensor.from_value_rowids(ids, tf.cast(rows, tf.int64), split.nrows())
        if self.prefix is None:
            return tokens
        return tf.concat([tf.fill([split.nrows(), 1], self.prefix), tokens], axis=1)

    def table(self, whole):
        keys = tf.constant(list(whole), tf.string)
        values = tf.constant(list(whole.values()), tf.int32)
        initializer = tf.lookup.KeyValueTensorInitializer(keys, values)
        return tf.lookup.StaticHashTable(initializer, -1)

    def with_whole(self, texts, ids, words):
        """Ids and words in which a word that is known as a whole is one id."""
        known = self.whole.lookup(texts)
        first = tf.concat([[True], words[1:] != words[:-1]], axis=0)[: tf.size(words)]
        of_word = tf.gather(known, words)
        ids = tf.where(of_word >= 0, of_word, ids)
        keep = first | (of_word < 0)
        return tf.boolean_mask(ids, keep), tf.boolean_mask(words, keep)

    def rank_of_pairs(self, ids, words):
        """int32 [M - 1], the rank of each id with the next; `none` where they do not merge."""
        pair = tf.cast(ids[:-1], tf.int64) * self.size + tf.cast(ids[1:], tf.int64)
        index, known = graph_text.index_in(tf.constant(self.pairs), pair)
        return tf.where(known & (words[:-1] == words[1:]), tf.gather(self.ranks, index), self.none)

    def merge_once(self, ids, words, rank):
        """In every word, merges the pair that ranks lowest, everywhere if nothing can come between."""
        position = tf.range(tf.size(rank))
        best = tf.gather(tf.math.segment_min(rank, words[:-1]), words[:-1])
        here = (rank < self.none) & (rank == best)
        first = tf.math.segment_min(tf.where(here, position, tf.size(ids)), words[:-1])
        first = position == tf.gather(first, words[:-1])
        # Of pairs that overlap, as in "aaa", every other one, from the left.
        begins = here & ~tf.pad(here, [[1, 0]])[:-1]
        run = tf.cumsum(tf.cast(begins, tf.int32)) - 1
        begin = tf.gather(tf.boolean_mask(position, begins), tf.maximum(run, 0))
        apart = (position - begin) % 2 == 0
        here &= first | (apart & tf.gather(self.together, rank))
        merged = tf.gather(self.merged, tf.pad(rank, [[0, 1]]))
        ids = tf.where(tf.pad(here, [[0, 1]]), merged, ids)
        keep = ~tf.pad(here, [[1, 0]])
        ids, words = tf.boolean_mask(ids, keep), tf.boolean_mask(words, keep)
        return ids, words, self.rank_of_pairs(ids, words)

    def detokenize(self, tokens):
        return graph_text.join(tf.constant(self.pieces), tokens)
