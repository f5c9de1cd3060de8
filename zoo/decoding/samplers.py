"""How the next token is drawn. Every parameter is a tensor: one graph serves all requests."""

import keras
from keras import ops

from zoo.layers.dropout import GivenSeed

FORBIDDEN = -1e30


def sample(logits, temperature, top_k, top_p, seed):
    """Draws a token for each row.

    Filters apply in the order temperature, top-k, top-p, each to what the one
    before has left, as in Hugging Face Transformers.

    Args:
      logits: float32 [B, V].
      temperature: float32 scalar the logits are divided by; 0 for the likeliest token.
      top_k: int32 scalar, draws among so many likeliest tokens only; 0 for all.
      top_p: float32 scalar, draws among the fewest likeliest tokens that together
        have this probability (Holtzman et al. 2020); 1 for all.
      seed: int32 [2]; the same seed and logits give the same tokens.

    Returns:
      int32 [B].
    """
    temperature = ops.convert_to_tensor(temperature, "float32")
    filtered = ops.logical_or(top_k > 0, ops.less(top_p, 1.0))

    def draw():
        scaled = logits / temperature
        return ops.cond(
            filtered,
            lambda: sample_filtered(scaled, top_k, top_p, seed),
            lambda: sample_all(scaled, seed),
        )

    return ops.cond(temperature > 0, draw, lambda: greedy(logits))


def greedy(logits):
    """The likeliest token of each row, the first among equals."""
    return ops.cast(ops.argmax(logits, axis=-1), "int32")


def sample_all(logits, seed):
    """Draws from softmax(logits), with independent noise on each row."""
    drawn = keras.random.categorical(logits, 1, dtype="int32", seed=GivenSeed(seed))
    return drawn[:, 0]


def sample_filtered(logits, top_k, top_p, seed):
    """Ranks the tokens, strikes those the filters exclude, and draws a rank."""
    vocabulary_size = logits.shape[-1]
    ranked, tokens = ops.top_k(logits, vocabulary_size)  # all of them, the likeliest first
    rank = ops.arange(vocabulary_size)
    ranked = ops.where(ops.logical_or(top_k <= 0, rank < top_k), ranked, FORBIDDEN)
    probabilities = ops.softmax(ranked)
    likelier = ops.cumsum(probabilities, axis=-1) - probabilities
    # The likeliest stays whatever top_p; at 1 rounding must not strike the tail.
    kept = ops.logical_or(ops.logical_or(rank == 0, top_p >= 1.0), likelier < top_p)
    drawn = sample_all(ops.where(kept, ranked, FORBIDDEN), seed)
    return ops.take_along_axis(ops.cast(tokens, "int32"), drawn[:, None], axis=-1)[:, 0]
