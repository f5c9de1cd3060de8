"""A fixed number of rows of an export that decode together; prompts join and leave between steps.

The number stays, because each new shape of the state may cost a compilation of seconds.
"""

import numpy as np
import tensorflow as tf

DTYPES = {  # of start's arguments
    "max_new_tokens": tf.int32,
    "temperature": tf.float32,
    "top_k": tf.int32,
    "top_p": tf.float32,
    "min_p": tf.float32,
    "repetition_penalty": tf.float32,
    "presence_penalty": tf.float32,
    "frequency_penalty": tf.float32,
    "top_logprobs": tf.int32,
    "num_return_sequences": tf.int32,
    "seed": tf.int32,
}


class Batch:
    """The running state of an export.

    Args:
      export: the loaded SavedModel.
      size: rows.
    """

    def __init__(self, export, size):
        self.export = export
        self.size = size
        idle = self.begin("", max_new_tokens=1, num_return_sequences=size)
        self.idle = export.end(state=idle, rows=tf.range(size))
        self.state = self.idle

    def begin(self, prompt, **settings):
        arguments = {name: tf.constant(value, DTYPES[name]) for name, value in settings.items()}
        return state_of(self.export.start(prompts=tf.constant([prompt]), **arguments))

    def join(self, prompt, places, **settings):
        """Puts len(places) texts of a prompt at places that are free."""
        other = self.begin(prompt, num_return_sequences=len(places), **settings)
        self.state = self.export.join(
            state=self.state, other=other, rows=tf.constant(places, tf.int32)
        )

    def leave(self, places):
        """Frees places."""
        if places:
            self.state = self.export.end(state=self.state, rows=tf.constant(places, tf.int32))

    def clear(self):
        """Frees all places, and forgets how long the longest row had become."""
        self.state = self.idle

    def step(self):
        """Draws a token or, with a draft, several in every row that has not ended; see `next`."""
        drawn = self.export.next(state=self.state, steps=tf.constant(1))
        self.state = state_of(drawn)
        return Drawn(drawn)

    def fails_alone(self, places):
        """Whether a step raises with no other rows than these. Changes nothing."""
        others = sorted(set(range(self.size)) - set(places))
        try:
            alone = self.export.end(state=self.state, rows=tf.constant(others, tf.int32))
            self.export.next(state=alone, steps=tf.constant(1))
        except Exception:
            return True
        return False


class Drawn:
    """What `next` gave, read row by row; log-probabilities only where they are asked for."""

    def __init__(self, drawn):
        self.drawn = drawn
        self.texts = np.asarray(drawn["text"])
        self.counts = np.asarray(drawn["num_tokens"])
        self.ended = np.asarray(drawn["ended"])
        self.finished = np.asarray(drawn["finished"])

    def text(self, row):
        return self.texts[row].decode("utf-8", "replace")

    def prefixes(self, row, first):
        """A row's tokens up to each from the one `first` on, int [n, T] with 0 behind."""
        count = self.counts[row]
        held = np.arange(count) <= np.arange(first, count)[:, None]
        return np.where(held, np.asarray(self.drawn["tokens"][row, :count]), 0)

    def tokens(self, row, first, last, alternatives):
        """[(token, log-probability, [(token, log-probability), ...])] from `first` to before `last`."""
        places = range(first, last)
        part = slice(first, last)
        tokens = np.asarray(self.drawn["tokens"][row, part]).tolist()
        values = np.asarray(self.drawn["token_log_probabilities"][row, part]).tolist()
        if not alternatives:
            return [(*pair, []) for pair in zip(tokens, values, strict=True)]
        top = np.asarray(self.drawn["top_tokens"][row, part, :alternatives]).tolist()
        top_values = np.asarray(self.drawn["top_log_probabilities"][row, part, :alternatives])
        tops = [
            list(zip(*pair, strict=True)) for pair in zip(top, top_values.tolist(), strict=True)
        ]
        return [(tokens[i], values[i], tops[i]) for i in range(len(places))]


def state_of(outputs):
    return {name: part for name, part in outputs.items() if name.startswith("state_")}
