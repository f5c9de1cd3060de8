"""How likely a model finds given texts, in the graph."""

import tensorflow as tf

from trainers.chunked_loss import over_chunks
from trainers.prompts import eos_column, lengths_of, rounded


def score(model, prompts, texts, continuations):
    """Log-probabilities of continuations; see `TextModel.score`.

    Args:
      model: a zoo.LanguageModel.
      prompts: of prompts.py.
      texts, continuations: string [N].
    """
    answers = prompts.tokenizer.tokenize(continuations)
    if prompts.layout == "text_to_text":
        answers = tf.concat([answers, eos_column(answers)], axis=1)
    num_tokens = lengths_of(answers)
    too_long = f"a continuation has more than the {prompts.max_length} tokens the model can read"
    fits = tf.debugging.assert_less_equal(num_tokens, prompts.max_length, too_long)
    with tf.control_dependencies([fits]):
        rows = tf.concat([prompts.read(texts), answers], axis=1)
    rows = rows[:, -prompts.max_length - 1 :]
    ends = lengths_of(rows) - 1
    length = rounded(tf.reduce_max(ends))
    rows = rows.to_tensor(shape=tf.stack([-1, length + 1]))
    hidden, _ = model.hidden({"inputs": rows[:, :-1], **prompts.source(texts)})

    def log_probabilities(hidden, tokens):
        logits = model.logits(hidden)
        return (), -tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, logits)

    _, gained = over_chunks(log_probabilities, model, hidden, rows[:, 1:])
    gained = tf.reshape(gained, tf.shape(rows[:, 1:]))
    scored = tf.sequence_mask(ends, length) & ~tf.sequence_mask(ends - num_tokens, length)
    gained = tf.ragged.boolean_mask(gained, scored)
    return {
        "log_probabilities": tf.reduce_sum(gained, axis=1),
        "token_log_probabilities": gained.to_tensor(),
        "num_tokens": num_tokens,
    }
