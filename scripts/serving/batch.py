"""Rows of an export that decode together; prompts join and leave between steps."""

import numpy as np
import tensorflow as tf

from trainers.exported import state_of

DTYPES = {  # of start's arguments that each prompt has its own of
    "max_new_tokens": tf.int32,
    "temperature": tf.float32,
    "top_k": tf.int32,
    "top_p": tf.float32,
    "min_p": tf.float32,
    "repetition_penalty": tf.float32,
    "presence_penalty": tf.float32,
    "frequency_penalty": tf.float32,
    "top_logprobs": tf.int32,
    "seed": tf.int32,
}


class Batch:
    """A state of an export, each of its rows under a key of the caller's.

    Idle rows fill it up to a power of two, for each new number of rows may cost a compilation
    of seconds.

    Args:
      export: the loaded SavedModel.
      most: rows that there are never more of.
      state: `state_*` tensors of the export.
      keys: a hashable object for each row of the state, or None for an idle one.
    """

    def __init__(self, export, most, state=None, keys=()):
        self.export = export
        self.most = most
        self.state = state
        self.places = list(keys)

    @classmethod
    def start(cls, export, most, prompts, settings, keys):
        """A batch of new texts, and the first token of each.

        Args:
          prompts: list of N texts.
          settings: a dict for each, all with the same names of DTYPES.
          keys: as many for each prompt as texts are to be drawn for it.

        Returns:
          (the batch, {key: `DrawnRow`}).
        """
        arguments = {
            name: tf.constant([its[name] for its in settings], DTYPES[name]) for name in settings[0]
        }
        outputs = export.start(
            prompts=tf.constant(prompts),
            num_return_sequences=tf.constant(len(keys) // len(prompts)),
            **arguments,
        )
        batch = cls(export, most, keys=keys)
        return batch, batch.take(outputs)

    @property
    def keys(self):
        return [key for key in self.places if key is not None]

    def step(self, steps=1):
        """Draws a token, or with a draft several, for every key that has not ended; see `next`.

        Args:
          steps: so often.

        Returns:
          {key: `DrawnRow`}.
        """
        size = self.size_for(len(self.keys))
        if size < len(self.places):
            self.resize(size)
        return self.take(self.export.next(state=self.state, steps=tf.constant(steps)))

    def take(self, drawn):
        """Keeps the state that `start` or `next` has come to; {key: `DrawnRow`}."""
        self.state = state_of(drawn)
        texts, *others = (np.asarray(drawn[name]) for name in ("text", "num_tokens", *ENDS))
        others = [each.tolist() for each in others]
        return {
            key: DrawnRow(drawn, place, texts[place].decode("utf-8", "replace"), *its)
            for place, (key, *its) in enumerate(zip(self.places, *others, strict=True))
            if key is not None
        }

    def add(self, other):
        """Takes over the rows of another batch of this export."""
        other = other.only(other.keys)
        if not other.keys:
            return
        if not self.keys:
            self.state, self.places = other.state, other.places
            return
        if len(self.keys) + len(other.keys) > len(self.places):
            self.resize(self.size_for(len(self.keys) + len(other.keys)))
        idle = [place for place, key in enumerate(self.places) if key is None]
        idle = idle[: len(other.keys)]
        self.state = self.export.join(
            state=self.state, other=other.state, rows=tf.constant(idle, tf.int32)
        )
        for place, key in zip(idle, other.keys, strict=True):
            self.places[place] = key

    def remove(self, keys):
        """Makes rows idle; the last ones take with them how long the longest had become."""
        places = [self.places.index(key) for key in keys]
        for place in places:
            self.places[place] = None
        if not self.keys:
            self.state, self.places = None, []
        elif places:
            self.end(places)

    def only(self, keys):
        """A batch of these rows alone."""
        if keys == self.places:
            return self
        places = [self.places.index(key) for key in keys]
        return Batch(self.export, self.most, self.picked(places), keys)

    def resize(self, size):
        """Keeps the rows in use, and idle ones to make them `size`."""
        keys = self.keys
        used = [self.places.index(key) for key in keys]
        idle = range(len(used), size)
        self.state = self.picked(used + used[:1] * len(idle))
        self.places = keys + [None] * len(idle)
        if idle:
            self.end(idle)

    def size_for(self, count):
        return min(1 << (count - 1).bit_length(), self.most)

    def picked(self, places):
        return {name: tf.gather(part, places) for name, part in self.state.items()}

    def end(self, places):
        self.state = self.export.end(state=self.state, rows=tf.constant(list(places), tf.int32))


ENDS = ("ended", "finished")


class DrawnRow:
    """What `start` or `next` gave for a row; log-probabilities are read only where they are asked for.

    Attributes:
      text: all of it so far.
      num_tokens: of it.
      ended, finished: whether nothing more comes, and whether the model has ended it.
    """

    def __init__(self, drawn, place, text, num_tokens, ended, finished):
        self.drawn = drawn
        self.place = place
        self.text = text
        self.num_tokens = num_tokens
        self.ended = ended
        self.finished = finished

    def prefixes(self, first):
        """The row's tokens up to each from the one `first` on, int [n, T] with 0 behind."""
        held = np.arange(self.num_tokens) <= np.arange(first, self.num_tokens)[:, None]
        return np.where(held, np.asarray(self.drawn["tokens"][self.place, : self.num_tokens]), 0)

    def tokens(self, first, last, alternatives):
        """[(token, log-probability, [(token, log-probability), ...])] from `first` to before `last`."""
        part = slice(first, last)

        def read(name, *more):
            return np.asarray(self.drawn[name][(self.place, part, *more)]).tolist()

        tokens, values = read("tokens"), read("token_log_probabilities")
        if not alternatives:
            return [(*pair, []) for pair in zip(tokens, values, strict=True)]
        likely = slice(alternatives)
        tops = [
            list(zip(*pair, strict=True))
            for pair in zip(
                read("top_tokens", likely), read("top_log_probabilities", likely), strict=True
            )
        ]
        return list(zip(tokens, values, tops, strict=True))
