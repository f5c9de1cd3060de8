"""TextModel: a model and its tokenizer as one TensorFlow module, strings in and strings out."""

import inspect

import tensorflow as tf

from trainers.chunked_loss import over_chunks
from zoo.decoding import loop, samplers
from zoo.decoding.loop import EOS

LAYOUTS = ("language_modelling", "text_to_text")

strings = tf.TensorSpec([None], tf.string)
integer = tf.TensorSpec([], tf.int32)
number = tf.TensorSpec([], tf.float32)


class TextModel(tf.Module):
    """What is exported: `generate`, `complete`, `score`, `start`, `next`, `tokenize`, ...

    Every public method is a `tf.function` with one graph for all shapes, whose
    arguments may be left out where they have a default, also after saving and
    loading. A prompt becomes the tokens that the model was trained to see before
    an answer:

      language_modelling          <eos> prompt
      text_to_text, one row       <eos> prompt <eos>
      text_to_text with a source  source: prompt <eos>; decoder: <eos>

    Args:
      model: a zoo.LanguageModel.
      tokenizer: of trainers/data/tokenizers.py.
      layout: "language_modelling" or "text_to_text".
      max_length: the most tokens in a row, prompt and answer together, and in a source.
      prefix, suffix: put around every prompt.

    Raises:
      ValueError: settings that do not fit together.
    """

    def __init__(self, model, tokenizer, layout, max_length, prefix="", suffix=""):
        super().__init__(name="text_model")
        if layout not in LAYOUTS:
            raise ValueError(f"layout {layout!r} is none of {', '.join(map(repr, LAYOUTS))}")
        if model.reads_source and layout != "text_to_text":
            raise ValueError(f"{type(model).__name__} reads a source: its layout is 'text_to_text'")
        if model.context_length and max_length > model.context_length:
            raise ValueError(
                f"max_length {max_length} is more than the {model.context_length} positions "
                f"that this {type(model).__name__} has learned"
            )
        # Saved are the TensorFlow variables of the model and not the model: of a Keras variable a
        # copy would be restored where a session loads the export, as TensorFlow Serving does, and
        # the one that the graphs read be left without a value (keras issue 20095).
        self.weights = [variable.value for variable in model.variables]
        vars(self)["model"] = model
        self.tokenizer = tokenizer.in_graph()
        self.layout = layout
        self.max_length = max_length
        self.prefix = prefix
        self.suffix = suffix

        # The state that `start` returns and `next` takes: flat, as a signature must be.
        begin = tf.function(self.begin, autograph=False)
        state = begin.get_concrete_function(strings, integer).structured_outputs
        names = [f"state_{i}" for i in range(len(tf.nest.flatten(state)))]
        self.flat = lambda state: dict(zip(names, tf.nest.flatten(state), strict=True))
        self.nested = lambda flat: tf.nest.pack_sequence_as(state, [flat[name] for name in names])
        state_specs = {
            name: tf.TensorSpec(spec.shape, spec.dtype, name=name)
            for name, spec in self.flat(state).items()
        }
        sampling = (number, integer, number)
        self.generate = graph(self.generate, strings, integer, *sampling, integer, strings, integer)
        self.complete = graph(self.complete, strings, integer)
        self.score = graph(self.score, strings, strings)
        self.start = graph(self.start, strings, integer)
        self.next = graph(self.next, state_specs, integer, *sampling, integer)
        self.tokenize = graph(self.tokenize, strings)
        self.detokenize = graph(self.detokenize, tf.TensorSpec([None, None], tf.int32))
        self.describe = graph(self.describe)

    def generate(
        self,
        prompts,
        max_new_tokens=256,
        temperature=0.0,
        top_k=0,
        top_p=1.0,
        num_return_sequences=1,
        stop=(),
        seed=0,
    ):
        """Continues or answers each prompt.

        A prompt that leaves too little room keeps its last tokens: at least half of
        `max_length` stays the prompt's, and the rest is generated.

        Args:
          prompts: string [N].
          max_new_tokens: int32, the most tokens to draw for each.
          temperature, top_k, top_p: see `samplers.sample`; temperature 0 is greedy.
          num_return_sequences: int32 R.
          stop: string [K]; a text ends before the first of them.
          seed: int32; the same seed gives the same texts.

        Returns:
          text: string [N, R], what was generated, without the prompt.
          log_probabilities: float32 [N, R], of the drawn tokens, the ending <eos> included,
            under the model's own distribution (temperature 1, nothing filtered).
          tokens: int32 [N, R, T], 0 behind the end.
        """
        state = self.begin(tf.repeat(prompts, num_return_sequences), max_new_tokens)
        sample = sampler(temperature, top_k, top_p, seed)
        carry = loop.advance(self.model, state["carry"], sample)
        tokens = carry["tokens"][:, : carry["count"]]
        text = before_stop(self.text(state["context"], tokens), stop)
        rows = [-1, num_return_sequences]
        return {
            "text": tf.reshape(text, rows),
            "log_probabilities": tf.reshape(carry["log_probabilities"], rows),
            "tokens": tf.reshape(tokens, [*rows, carry["count"]]),
        }

    def complete(self, prompts, max_new_tokens=256):
        """`generate` at its defaults, for clients that have to feed every argument there is.

        Returns:
          text: string [N].
        """
        return {"text": self.generate(prompts, max_new_tokens)["text"][:, 0]}

    def score(self, prompts, continuations):
        """How likely the model finds given texts.

        Args:
          prompts, continuations: string [N].

        Returns:
          log_probabilities: float32 [N], of the continuation given the prompt; in the
            layout text_to_text that of its ending <eos> included.
          token_log_probabilities: float32 [N, T], a token each, 0 behind the end.
          num_tokens: int32 [N].
        """
        answers = self.tokenizer.tokenize(continuations)
        if self.layout == "text_to_text":
            answers = tf.concat([answers, eos_column(answers)], axis=1)
        num_tokens = tf.cast(answers.row_lengths(), tf.int32)
        too_long = f"a continuation has more than the {self.max_length} tokens the model can read"
        fits = tf.debugging.assert_less_equal(num_tokens, self.max_length, too_long)
        with tf.control_dependencies([fits]):
            rows = tf.concat([self.read(prompts), answers], axis=1)
        rows = rows[:, -self.max_length - 1 :]
        ends = tf.cast(rows.row_lengths(), tf.int32) - 1
        length = rounded(tf.reduce_max(ends))
        rows = rows.to_tensor(shape=tf.stack([-1, length + 1]))
        hidden, _ = self.model.hidden({"inputs": rows[:, :-1], **self.source(prompts)})

        def log_probabilities(hidden, tokens):
            logits = self.model.logits(hidden)
            return (), -tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, logits)

        _, gained = over_chunks(log_probabilities, self.model, hidden, rows[:, 1:])
        gained = tf.reshape(gained, tf.shape(rows[:, 1:]))
        scored = tf.sequence_mask(ends, length) & ~tf.sequence_mask(ends - num_tokens, length)
        gained = tf.ragged.boolean_mask(gained, scored)
        return {
            "log_probabilities": tf.reduce_sum(gained, axis=1),
            "token_log_probabilities": gained.to_tensor(),
            "num_tokens": num_tokens,
        }

    def start(self, prompts, max_new_tokens=256):
        """The state before the first token: `state_*` tensors to hand to `next`."""
        return self.flat(self.begin(prompts, max_new_tokens))

    def next(self, state, steps=1, temperature=0.0, top_k=0, top_p=1.0, seed=0):
        """Draws `steps` more tokens for each prompt, the very ones that `generate` would draw.

        Args:
          state: the `state_*` tensors of `start` or of the `next` before.
          steps: int32, the most tokens to draw now.

        Returns:
          text: string [N], all that was generated so far. Its last character is U+FFFD
            while a character lacks bytes.
          log_probabilities: float32 [N], of it.
          ended: bool [N].
          state_*: the new state.
        """
        state = self.nested(state)
        sample = sampler(temperature, top_k, top_p, seed)
        carry = loop.advance(self.model, state["carry"], sample, steps)
        return {
            "text": self.text(state["context"], carry["tokens"]),
            "log_probabilities": carry["log_probabilities"],
            "ended": carry["ended"],
            **self.flat({**state, "carry": carry}),
        }

    def tokenize(self, texts):
        """string [N] -> tokens int32 [N, T], 0 behind the end, and num_tokens int32 [N]."""
        tokens = self.tokenizer.tokenize(texts)
        num_tokens = tf.cast(tokens.row_lengths(), tf.int32)
        return {"tokens": tokens.to_tensor(), "num_tokens": num_tokens}

    def detokenize(self, tokens):
        """int32 [N, T] -> text string [N], of the tokens before the first 0."""
        return {"text": self.tokenizer.detokenize(tokens)}

    def describe(self):
        """layout string, max_length int32."""
        return {"layout": tf.constant(self.layout), "max_length": tf.constant(self.max_length)}

    def begin(self, prompts, max_new_tokens):
        """{"context": int32 [N, P], tokens that the answer's text goes on from, "carry": ...}."""
        max_new_tokens = tf.maximum(max_new_tokens, 0)
        reserved = tf.minimum(max_new_tokens, (self.max_length + 1) // 2)
        # The last token drawn is never read: a row has room for one more than max_length.
        tokens = self.read(prompts)[:, reserved - self.max_length - 1 :]
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        limits = tf.minimum(max_new_tokens, self.max_length + 1 - lengths)
        features = self.source(prompts)
        if self.model.reads_source:
            padded = tokens.to_tensor(shape=[None, 1])
        else:
            padded_length = rounded(tf.reduce_max(lengths))
            padded = left_padded(tokens, padded_length)
            features["padding"] = padded_length - lengths
        capacity = rounded(tf.reduce_max(limits))
        return {
            "context": padded if self.layout == "language_modelling" else padded[:, :0],
            "carry": loop.begin(self.model, padded, limits, capacity, features),
        }

    def read(self, prompts):
        """What the decoder reads before the answer. Ragged int32 [N, None]."""
        tokens = self.tokenizer.tokenize(self.prefix + prompts + self.suffix)
        eos = eos_column(tokens)
        if self.model.reads_source:
            return tf.RaggedTensor.from_tensor(eos)
        if self.layout == "language_modelling":
            return tf.concat([eos, tokens], axis=1)
        return tf.concat([eos, tokens, eos], axis=1)

    def source(self, prompts):
        """The encoder's features of the prompts; {} for a model without an encoder."""
        if not self.model.reads_source:
            return {}
        tokens = self.tokenizer.tokenize(self.prefix + prompts + self.suffix)
        tokens = tf.concat([tokens, eos_column(tokens)], axis=1)[:, -self.max_length :]
        length = rounded(tf.reduce_max(tokens.row_lengths()))
        return {
            "source": tokens.to_tensor(shape=tf.stack([-1, length])),
            "source_segments": tf.sequence_mask(tokens.row_lengths(), length, tf.int32),
        }

    def text(self, context, tokens):
        """The text of `tokens` [N, T] where they follow `context` [N, P]. string [N].

        A word's form may depend on what stands before it (a space, an unfinished
        character), so both are read together and the context's text is cut off.
        """
        context = tf.ragged.boolean_mask(context, context != EOS)
        before = self.tokenizer.detokenize(context)
        text = self.tokenizer.detokenize(tf.concat([context, tokens], axis=1))
        start = tf.minimum(tf.strings.length(before), tf.strings.length(text))
        return tf.strings.substr(text, start, tf.strings.length(text) - start)


def graph(method, *specs):
    """A tf.function of a bound method whose Python defaults become the signature's defaults."""
    signature = inspect.signature(method)
    parameters = [
        parameter
        if parameter.default is parameter.empty
        else parameter.replace(default=tf.constant(parameter.default, spec.dtype))
        for parameter, spec in zip(signature.parameters.values(), specs, strict=True)
    ]

    def function(*args, **kwargs):
        return method(*args, **kwargs)

    function.__name__ = method.__name__
    function.__doc__ = method.__doc__
    function.__signature__ = signature.replace(parameters=parameters)
    return tf.function(function, input_signature=specs, autograph=False)


def sampler(temperature, top_k, top_p, seed):
    def sample(logits, count):
        return samplers.sample(logits, temperature, top_k, top_p, tf.stack([seed, count]))

    return sample


def before_stop(texts, stop):
    """Cuts each text [N] before the first occurrence of any of the strings [K]."""

    def shortest(lengths, stop):
        before = tf.strings.reduce_join(tf.strings.split(texts, stop, maxsplit=1)[:, :1], axis=1)
        return tf.where(stop == "", lengths, tf.minimum(lengths, tf.strings.length(before)))

    lengths = tf.foldl(shortest, stop, initializer=tf.strings.length(texts))
    return tf.strings.substr(texts, tf.zeros_like(lengths), lengths)


def eos_column(tokens):
    return tf.fill([tokens.nrows(), 1], tf.constant(EOS, tf.int32))


def left_padded(tokens, length):
    """Ragged [N, None] -> [N, length] with 0 at the left."""
    return tf.reverse(tokens[:, ::-1].to_tensor(shape=tf.stack([-1, length])), axis=[1])


def rounded(length):
    """The next of a few sizes, so that caches and prompts come in few shapes."""
    sizes = tf.constant([2**i for i in range(4, 24)], length.dtype)
    return tf.reduce_min(tf.boolean_mask(sizes, sizes >= length))
