"""Tokens are drawn until each text has ended or has a stop string in it."""

import tensorflow as tf

from trainers.prompts import before_stop

BY_PLACE = ("tokens", "gained", "top_tokens", "top_gained")  # of a carry: [N, C, ...]


def draw(carry, advance, text_of, stop):
    """Draws whole texts.

    Args:
      carry: from `loop.first`.
      advance: function of a carry and of the most steps to take, to a carry.
      text_of: function of tokens int32 [N, C], 0 behind the end, to texts [N].
      stop: string [K]; a text ends before the first of them.

    Returns:
      (the carry, its tokens up to the one that completed a stop string; the texts [N])
    """
    # Only where a text may stop inside must it be looked at after every token.
    looking = tf.size(stop) > 0
    steps = tf.where(looking, 1, tf.int32.max)

    def going(carry, _):
        return ~tf.reduce_all(carry["ended"])

    def stopped(carry, seen):
        first = tf.where(looking, tf.minimum(seen + 1, carry["count"]), carry["count"])
        return up_to_stop(carry, text_of, stop, first)

    def step(carry, _):
        return stopped(advance(carry, steps), carry["count"])

    begun = stopped(carry, tf.zeros_like(carry["count"]))
    return tf.while_loop(going, step, begun)


def up_to_stop(carry, text_of, stop, first):
    """(carry, texts), cut behind the first token from the `first` [N] on that completes a stop string.

    A step without a draft draws one token; one with a draft may draw others behind that.
    """

    def look(count, *_):
        whole = text_of(cut(carry["tokens"], count))
        text = before_stop(whole, stop)
        return count, text, text != whole

    def more(count, stopped):
        return ~stopped & (count < carry["count"])

    count, text, stopped = tf.while_loop(
        lambda count, _, stopped: tf.reduce_any(more(count, stopped)),
        lambda count, _, stopped: look(count + tf.cast(more(count, stopped), tf.int32)),
        look(first),
    )
    return {
        **carry,
        **{name: cut(carry[name], count) for name in BY_PLACE},
        "count": count,
        "ended": carry["ended"] | stopped,
        "finished": carry["finished"] | stopped,
    }, text


def cut(parts, count):
    """[N, C, ...] with 0 in the places of each row from `count` [N] on."""
    held = tf.sequence_mask(count, tf.shape(parts)[1])
    for _ in parts.shape[2:]:
        held = held[..., None]
    return tf.where(held, parts, tf.zeros_like(parts))
