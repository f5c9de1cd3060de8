"""Text operations in TensorFlow that the in-graph tokenizers share."""

import tensorflow as tf

from trainers.data.tokenizer_base import EOS


def before_end(tokens):
    """The tokens before the first `<eos>` of each row.

    Args:
      tokens: int32 [N, T], dense or ragged.

    Returns:
      ragged int32 [N, None].
    """
    if isinstance(tokens, tf.RaggedTensor):
        tokens = tokens.to_tensor(EOS)
    return tf.ragged.boolean_mask(tokens, tf.math.cumprod(tf.cast(tokens != EOS, "int32"), 1) > 0)


def byte_ids(texts):
    """The ids of the bytes of each text. string [N] -> ragged int32 [N, None]."""
    raw = tf.strings.bytes_split(texts)
    codes = tf.reshape(tf.io.decode_raw(raw.flat_values, tf.uint8), [-1])
    return raw.with_flat_values(tf.cast(codes, tf.int32) + 1)


def join(pieces, tokens):
    """Texts of tokens by a table of each token's bytes.

    Args:
      pieces: string [V].
      tokens: int32 [N, T], dense or ragged.

    Returns:
      string [N], valid UTF-8.
    """
    texts = tf.strings.reduce_join(tf.gather(pieces, before_end(tokens)), axis=1)
    return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")


def index_in(keys, queries):
    """Where each query stands in sorted keys, and whether it does.

    Args:
      keys: [K], sorted.
      queries: [M].

    Returns:
      (int32 [M], bool [M]).
    """
    index = tf.minimum(tf.searchsorted(keys, queries), tf.size(keys) - 1)
    return index, tf.gather(keys, index) == queries
