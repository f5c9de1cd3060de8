"""How likely a model finds given texts, in the graph."""

import tensorflow as tf

from trainers.chunked_loss import over_chunks
from trainers.prompts import eos_column, lengths_of, rounded

SHARE = 0.1  # of the tokens that are scored: a continuation is shorter than its prompt as a rule


def score(model, prompts, texts, continuations):
    """Log-probabilities of continuations; see `TextModel.score`.

    Args:
      model: a zoo.LanguageModel.
      prompts: of prompts.py.
      texts, continuations: string [N].
    """
    answers = prompts.tokenize_answers(continuations, texts)
    if prompts.layout == "text_to_text":
        answers = tf.concat([answers, eos_column(answers)], axis=1)
    num_tokens = lengths_of(answers)
    too_long = f"a continuation has more than the {prompts.max_length} tokens the model can read"
    fits = tf.debugging.assert_less_equal(num_tokens, prompts.max_length, too_long)
    with tf.control_dependencies([fits]):
        rows = tf.concat([prompts.read(texts), answers], axis=1)
    return score_rows(model, rows, num_tokens, prompts.max_length, prompts.source(texts))


def score_rows(model, rows, num_tokens, max_length, source):
    """Log-probabilities of the last tokens of rows; see `TextModel.score_tokens`.

    Args:
      rows: ragged int32 [N, None]; of more than `max_length` + 1 tokens the last count.
      num_tokens: int32 [N], how many of a row's last are scored.
      source: the encoder's features, {} for a model without one.
    """
    rows = rows[:, -max_length - 1 :]
    ends = lengths_of(rows) - 1
    length = rounded(tf.reduce_max(ends))
    rows = rows.to_tensor(shape=tf.stack([-1, length + 1]))
    hidden, _ = model.hidden({"inputs": rows[:, :-1], **source})

    def judge(hidden, tokens):
        logits = model.logits(hidden)
        gained = -tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, logits)
        first = tf.argmax(logits, axis=-1, output_type=tf.int32) == tokens
        return (), tf.stack([gained, tf.cast(first, gained.dtype)], axis=1)

    scored = tf.sequence_mask(ends, length) & ~tf.sequence_mask(ends - num_tokens, length)
    _, judged = over_chunks(judge, model, hidden, rows[:, 1:], counted=scored, share=SHARE)
    judged = tf.reshape(judged, (-1, length, 2))
    gained = tf.ragged.boolean_mask(judged[..., 0], scored)
    return {
        "log_probabilities": tf.reduce_sum(gained, axis=1),
        "token_log_probabilities": gained.to_tensor(),
        "num_tokens": num_tokens,
        "likeliest": tf.reduce_all(~scored | (judged[..., 1] > 0), axis=1),
    }
