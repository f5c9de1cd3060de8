"""Prompts: what a model reads before an answer, from strings, in the graph."""

import tensorflow as tf

from trainers.data.tokenizer_base import ANSWER, GOES_ON
from zoo.decoding.loop import EOS

LAYOUTS = ("language_modelling", "text_to_text")


class Prompts(tf.Module):
    """Strings to the tokens that the model was trained to see before an answer:

      language_modelling          <eos> prompt
      text_to_text, one row       <eos> prompt <eos>
      text_to_text with a source  source: prompt <eos>; decoder: <eos>

    Args:
      tokenizer: of a tokenizer's `in_graph`.
      layout: "language_modelling" or "text_to_text".
      reads_source: whether the model has an encoder.
      max_length: the most tokens in a row, prompt and answer together, and in a source.
      prefix, suffix: put around every prompt.
      begins: whether a language model reads a prompt behind `<eos>`; an empty one it does anyway.
      leading_space, reads_answers_apart: of the tokenizer, see `Tokenizer`.

    Raises:
      ValueError: settings that do not fit together.
    """

    def __init__(
        self,
        tokenizer,
        layout,
        reads_source,
        max_length,
        prefix="",
        suffix="",
        begins=True,
        leading_space=None,
        reads_answers_apart=False,
    ):
        super().__init__(name="prompts")
        if layout not in LAYOUTS:
            raise ValueError(f"layout {layout!r} is none of {', '.join(map(repr, LAYOUTS))}")
        if reads_source and layout != "text_to_text":
            raise ValueError("a model that reads a source has the layout 'text_to_text'")
        self.tokenizer = tokenizer
        self.layout = layout
        self.reads_source = reads_source
        self.max_length = max_length
        self.prefix = prefix
        self.suffix = suffix
        self.begins = begins
        self.leading_space = leading_space
        self.reads_answers_apart = reads_answers_apart

    def tokenize(self, prompts):
        return self.tokenizer.tokenize(self.prefix + prompts + self.suffix)

    def tokenize_answers(self, answers, prompts):
        """Ragged int32 [N, None] of string [N]; a language model's go on from their prompts."""
        if self.leading_space and self.layout == "language_modelling":
            alone = self.prefix + prompts + self.suffix == ""
            answers = tf.where(alone, answers, GOES_ON + answers)
        if self.reads_answers_apart:
            answers = ANSWER + answers
        return self.tokenizer.tokenize(answers)

    def read(self, prompts):
        """What the decoder reads before the answer. string [N] -> ragged int32 [N, None]."""
        tokens = self.tokenize(prompts)
        eos = eos_column(tokens)
        if self.reads_source:
            return tf.RaggedTensor.from_tensor(eos)
        if self.layout == "language_modelling":
            if not self.begins:
                empty = tf.cast(tokens.row_lengths() == 0, tf.int64)
                eos = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(empty)], EOS), empty)
            return tf.concat([eos, tokens], axis=1)
        return tf.concat([eos, tokens, eos], axis=1)

    def source(self, prompts):
        """The encoder's features of the prompts; {} for a model without an encoder."""
        if not self.reads_source:
            return {}
        tokens = self.tokenize(prompts)
        tokens = tf.concat([tokens, eos_column(tokens)], axis=1)[:, -self.max_length :]
        length = rounded(tf.reduce_max(tokens.row_lengths()))
        return {
            "source": tokens.to_tensor(shape=tf.stack([-1, length])),
            "source_segments": tf.sequence_mask(tokens.row_lengths(), length, tf.int32),
        }

    def begin(self, prompts, forced, max_new_tokens, truncate):
        """What decoding begins with.

        A prompt that leaves too little room keeps its last tokens: at least half of
        `max_length` stays the prompt's, and the rest is generated.

        Args:
          prompts: string [N].
          forced: string [N or 1], what the answers begin with.
          max_new_tokens: int32, a scalar or [N].
          truncate: bool; False for an error instead of a shortened prompt.

        Returns:
          tokens: int32 [N, P], left padded.
          features: `padding` [N], and the source of a model that reads one.
          limits: int32 [N], how many tokens may be drawn.
          context: int32 [N, Q], 0 where none, the tokens that the answer's text goes on from.
          forced: int32 [N, F], 0 where none, the tokens of `forced`.
        """
        max_new_tokens = tf.broadcast_to(tf.maximum(max_new_tokens, 0), tf.shape(prompts))
        begun = self.tokenize_answers(tf.broadcast_to(forced, tf.shape(prompts)), prompts)
        read = tf.concat([self.read(prompts), begun], axis=1)
        reserved = tf.minimum(max_new_tokens, (self.max_length + 1) // 2)
        # The last token drawn is never read: a row has room for one more than max_length.
        tokens = last(read, self.max_length + 1 - reserved)
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        whole = tf.cast(read.row_lengths(), tf.int32)
        if self.reads_source:
            whole += tf.maximum(lengths_of(self.tokenize(prompts)) + 1 - self.max_length, 0)
        fits = tf.debugging.Assert(
            truncate | tf.reduce_all(whole == lengths),
            [f"a prompt has more tokens than the {self.max_length} that the model reads allow"],
        )
        with tf.control_dependencies([fits]):
            limits = tf.minimum(max_new_tokens, self.max_length + 1 - lengths)
        length = rounded(tf.reduce_max(lengths), least=1 if self.reads_source else 16)
        padded = left_padded(tokens, length)
        context = padded
        if self.layout == "text_to_text":
            context = padded[:, :0]
        else:  # the answer's own beginning is no context of it
            own = tf.range(length) >= length - lengths_of(begun)[:, None]
            context = tf.where(own, EOS, padded)
        return {
            "tokens": padded,
            "features": {"padding": length - lengths, **self.source(prompts)},
            "limits": limits,
            "context": context,
            "forced": begun.to_tensor(),
        }

    def text(self, context, forced, tokens):
        """The text of `forced` [N, F] and `tokens` [N, T] behind `context` [N, P]. string [N].

        A word's form may depend on what stands before it (a space, an unfinished
        character), so both are read together and the context's text is cut off.
        """
        context, forced = (tf.ragged.boolean_mask(x, x != EOS) for x in (context, forced))
        before = self.tokenizer.detokenize(context)
        text = self.tokenizer.detokenize(tf.concat([context, forced, tokens], axis=1))
        start = tf.minimum(tf.strings.length(before), tf.strings.length(text))
        return tf.strings.substr(text, start, tf.strings.length(text) - start)


def before_stop(texts, stop):
    """Cuts each text [N] before the first occurrence of any of the strings [K]."""

    def shortest(lengths, stop):
        before = tf.strings.reduce_join(tf.strings.split(texts, stop, maxsplit=1)[:, :1], axis=1)
        return tf.where(stop == "", lengths, tf.minimum(lengths, tf.strings.length(before)))

    lengths = tf.foldl(shortest, stop, initializer=tf.strings.length(texts))
    return tf.strings.substr(texts, tf.zeros_like(lengths), lengths)


def lengths_of(ragged):
    return tf.cast(ragged.row_lengths(), tf.int32)


def eos_column(tokens):
    return tf.fill([tokens.nrows(), 1], tf.constant(EOS, tf.int32))


def last(ragged, most):
    """The last values of each row, `most` [N] of them. Ragged [N, None]."""
    places = tf.ragged.range(lengths_of(ragged))
    return tf.ragged.boolean_mask(ragged, places >= (lengths_of(ragged) - most)[:, None])


def left_padded(tokens, length):
    """Ragged [N, None] -> [N, length] with 0 at the left."""
    return tf.reverse(tokens[:, ::-1].to_tensor(shape=tf.stack([-1, length])), axis=[1])


def rounded(length, least=16):
    """The next of a few sizes, so that caches and prompts come in few shapes."""
    sizes = tf.constant([2**i for i in range(24) if 2**i >= least], length.dtype)
    return tf.reduce_min(tf.boolean_mask(sizes, sizes >= length))
