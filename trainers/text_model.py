"""TextModel: a model and its tokenizer as one TensorFlow module, strings in and strings out."""

import functools

import tensorflow as tf

from trainers import scoring, states, stopping
from trainers.programs import Programs, buffer, greatest
from trainers.prompts import Prompts, lengths_of
from trainers.signatures import (
    BEAM_OPTIONS,
    NEEDED,
    START,
    graph,
    integer,
    integers,
    strings,
)
from zoo.decoding import speculative


class TextModel(tf.Module):
    """What is exported: see the public methods.

    Each of them is a `tf.function` with one graph for all shapes, whose
    arguments may be left out where they have a default, also after saving and
    loading.

    Args:
      model: a zoo.LanguageModel.
      tokenizer: of trainers/data/tokenizers.py.
      layout, max_length, prefix, suffix: see `prompts.Prompts`.
      xla: whether the numbers of decoding are compiled by XLA, once for each of a few shapes.
      name: of the model, for servers.
      chat_template: in Jinja, of a model of dialogue; "" for the plain one.
      labels: of a model of classes, the answers there are.
      draft: a smaller LanguageModel that drafts what is generated, see `speculative`; the texts
        are the same without it. Beam search and `score` do without.
      proposals: tokens that it proposes in a step.

    Raises:
      ValueError: settings that do not fit together.
    """

    def __init__(
        self,
        model,
        tokenizer,
        layout,
        max_length,
        prefix="",
        suffix="",
        xla=False,
        name="model",
        chat_template="",
        labels=(),
        draft=None,
        proposals=speculative.PROPOSALS,
    ):
        super().__init__(name="text_model")
        models = [model] if draft is None else [model, draft]
        for each in models:
            if each.context_length and max_length > each.context_length:
                raise ValueError(
                    f"max_length {max_length} is more than the {each.context_length} positions "
                    f"that this {type(each).__name__} has learned"
                )
        # Saved are the TensorFlow variables of the models and not the models: of a Keras variable a
        # copy would be restored where a session loads the export, as TensorFlow Serving does, and
        # the one that the graphs read be left without a value (keras issue 20095).
        self.weights = [variable.value for each in models for variable in each.variables]
        vars(self)["model"] = model
        self.tokenizer = tokenizer.in_graph()
        self.prompts = Prompts(
            self.tokenizer,
            layout,
            model.reads_source,
            max_length,
            prefix,
            suffix,
            tokenizer.begins_texts,
            tokenizer.leading_space,
            tokenizer.reads_answers_apart,
        )
        self.layout = layout
        self.max_length = max_length
        self.description = {
            "layout": layout,
            "max_length": max_length,
            "reads_source": model.reads_source,
            "prefix": prefix,
            "suffix": suffix,
            "name": name,
            "chat_template": chat_template,
            "special_tokens": tf.constant(list(tokenizer.special_tokens), tf.string),
            "separator": tokenizer.separator,
            "labels": tf.constant(list(labels), tf.string),
        }
        self.programs = Programs(model, self.prompts, xla, draft, proposals)

        # The state that `start` returns and `next` takes: flat, as a signature must be.
        begun = self.programs.begin.get_concrete_function()
        self.states = states.FlatStates(begun.structured_outputs)
        state, other = self.states.specs(), self.states.specs("other_")
        rows = {"rows": (NEEDED, integers)}
        self.generate = graph(self.generate, {**START, "stop": ((), strings)})
        completing = {name: START[name] for name in ("prompts", "max_new_tokens")}
        self.complete = graph(self.complete, completing)
        self.beam_search = graph(self.beam_search, {"prompts": (NEEDED, strings), **BEAM_OPTIONS})
        self.score = graph(
            self.score, dict.fromkeys(["prompts", "continuations"], (NEEDED, strings))
        )
        tokens = tf.TensorSpec([None, None], tf.int32)
        if not self.prompts.reads_source:
            counts = dict.fromkeys(["lengths", "num_tokens"], (NEEDED, integers))
            self.score_tokens = graph(self.score_tokens, {"tokens": (NEEDED, tokens), **counts})
        self.start = graph(self.start, START)
        self.next = graph(self.next, {"state": (NEEDED, state), "steps": (1, integer)})
        both = {"state": (NEEDED, state), "other": (NEEDED, other)}
        self.join = graph(self.join, {**both, **rows})
        self.end = graph(self.end, {"state": (NEEDED, state), **rows})
        self.tokenize = graph(self.tokenize, {"texts": (NEEDED, strings)})
        self.detokenize = graph(self.detokenize, {"tokens": (NEEDED, tokens)})
        self.describe = graph(self.describe, {})

    def generate(self, prompts, **options):
        """Continues or answers each prompt.

        A prompt that leaves too little room keeps its last tokens: at least half of
        `max_length` stays the prompt's, and the rest is generated.

        Numbers but `num_return_sequences` are one for all prompts, or [N], one for each.

        Args:
          prompts: string [N].
          max_new_tokens: int32, the most tokens to draw for each.
          temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty,
            frequency_penalty, min_new_tokens: see `samplers.settings`; temperature 0 is greedy.
          num_return_sequences: int32 R.
          stop: string [K]; a text ends before the first of them.
          seed: int32; the same seed gives the same texts. One for each prompt gives each what
            it gives alone.
          top_logprobs: int32; above 0 for the alternatives in each place.
          forced: string [N or 1], what the texts begin with.
          truncate: bool; False for an error where a prompt is too long.

        Returns:
          text: string [N, R], what was generated, without the prompt.
          log_probabilities: float32 [N, R], of the drawn tokens, the ending <eos> included,
            under the model's own distribution (temperature 1, nothing filtered).
          tokens: int32 [N, R, T], 0 behind the end; up to the one that completed a stop string.
          num_tokens: int32 [N, R].
          token_log_probabilities: float32 [N, R, T], 0 behind the end.
          top_tokens, top_log_probabilities: int32 and float32 [N, R, T, 20], the likeliest tokens
            in each place, the likeliest first; zeros unless `top_logprobs` asks for them.
          finished: bool [N, R], whether the text ended by <eos> or a stop string.
        """
        stop = options.pop("stop")
        state = self.programs.begin(prompts, **options)
        text_of = functools.partial(self.prompts.text, state["context"], state["forced"])
        carry, text = stopping.draw(state["carry"], self.programs.advance, text_of, stop)
        longest = greatest(carry["count"])

        def of_rows(x):
            rows = [-1, options["num_return_sequences"]]
            return tf.reshape(x, tf.concat([rows, tf.shape(x)[1:]], 0))

        return {
            "text": of_rows(text),
            "log_probabilities": of_rows(tf.reduce_sum(carry["gained"], axis=1)),
            "tokens": of_rows(carry["tokens"][:, :longest]),
            "num_tokens": of_rows(carry["count"]),
            "token_log_probabilities": of_rows(carry["gained"][:, :longest]),
            "top_tokens": of_rows(carry["top_tokens"][:, :longest]),
            "top_log_probabilities": of_rows(carry["top_gained"][:, :longest]),
            "finished": of_rows(carry["finished"]),
        }

    def beam_search(self, prompts, **options):
        """The likeliest continuations or answers that a beam finds.

        Args:
          prompts, max_new_tokens, forced, truncate: see `generate`.
          num_beams: int32 W.
          length_penalty, early_stopping, exhaustive: see `beam_search.search`.
          num_return_sequences: int32 R, at most W.

        Returns:
          text: string [N, R], the best first.
          scores: float32 [N, R], log-probability / length ** length_penalty.
          log_probabilities: float32 [N, R].
          tokens: int32 [N, R, T], 0 behind the end.
        """
        begun = self.prompts.begin(
            prompts, options["forced"], options["max_new_tokens"], options["truncate"]
        )
        found = self.programs.search(
            begun["tokens"],
            begun["limits"],
            buffer(begun["limits"]),
            tf.zeros([options["num_beams"]]),
            options["length_penalty"],
            options["early_stopping"],
            options["exhaustive"],
            begun["features"],
        )
        kept = options["num_return_sequences"]
        tokens = found["tokens"][:, :kept, : greatest(found["lengths"])]
        rows = tf.shape(tokens)
        flat = tf.reshape(tokens, [rows[0] * rows[1], rows[2]])
        before = (tf.repeat(begun[name], rows[1], axis=0) for name in ("context", "forced"))
        text = self.prompts.text(*before, flat)
        return {
            "text": tf.reshape(text, rows[:2]),
            "scores": found["scores"][:, :kept],
            "log_probabilities": found["log_probabilities"][:, :kept],
            "tokens": tokens,
        }

    def complete(self, prompts, max_new_tokens):
        """`generate` at its defaults, for clients that have to feed every argument there is.

        Returns:
          text: string [N].
        """
        generated = self.generate(prompts, max_new_tokens=max_new_tokens)
        return {"text": generated["text"][:, 0]}

    def score(self, prompts, continuations):
        """How likely the model finds given texts.

        Args:
          prompts, continuations: string [N].

        Returns:
          log_probabilities: float32 [N], of the continuation given the prompt; in the
            layout text_to_text that of its ending <eos> included.
          token_log_probabilities: float32 [N, T], a token each, 0 behind the end.
          num_tokens: int32 [N].
          likeliest: bool [N], whether each token is the one the model finds likeliest.
        """
        return scoring.score(self.model, self.prompts, prompts, continuations)

    def score_tokens(self, tokens, lengths, num_tokens):
        """The same of tokens as they are, with nothing put before or behind them.

        Only for a model that reads no source.

        Args:
          tokens: int32 [N, T]; of a row's first nothing is said, what it begins with is read alone.
          lengths: int32 [N], of the rows in `tokens`.
          num_tokens: int32 [N], how many of a row's last tokens are scored, at most `max_length`.

        Returns:
          see `score`.
        """
        rows = tf.RaggedTensor.from_tensor(tokens, lengths)
        return scoring.score_rows(self.model, rows, num_tokens, self.prompts.max_length, {})

    def start(self, prompts, **options):
        """Reads prompts and draws the first token of each text, which `next` goes on with.

        Args: those of `generate` but `stop`, which is up to those who read the texts.

        Returns:
          what `next` does, of N * R rows; each is apart from the others, its settings with it.
        """
        return self.so_far(self.programs.begin(prompts, **options))

    def next(self, state, steps=1):
        """Draws `steps` tokens more for each row, the very ones that `generate` would draw.

        Args:
          state: the `state_*` tensors of `start`, `join`, `end` or the `next` before.
          steps: int32, the most tokens to draw now; with a draft the most steps to take, in each
            of which a row gets 1 to `proposals` + 1 tokens.

        Returns:
          text: string [N], all that was generated so far. Its last character is U+FFFD
            while a character lacks bytes.
          tokens, num_tokens, token_log_probabilities, top_tokens, top_log_probabilities: of all
            that was drawn so far, as in `generate`, [N, ...].
          log_probabilities: float32 [N], of it.
          ended, finished: bool [N], whether nothing more is drawn, and whether by <eos>.
          state_*: the new state.
        """
        state = self.states.nested(state)
        return self.so_far({**state, "carry": self.programs.advance(state["carry"], steps)})

    def so_far(self, state):
        """What `next` returns."""
        carry = state["carry"]
        return {
            # With what the answer was forced to begin with.
            "text": self.prompts.text(state["context"], state["forced"], carry["tokens"]),
            "tokens": carry["tokens"],
            "num_tokens": carry["count"],
            "token_log_probabilities": carry["gained"],
            "top_tokens": carry["top_tokens"],
            "top_log_probabilities": carry["top_gained"],
            "log_probabilities": tf.reduce_sum(carry["gained"], axis=1),
            "ended": carry["ended"],
            "finished": carry["finished"],
            **self.states.flat(state),
        }

    def join(self, state, other, rows):
        """Puts rows of one state in place of rows of another, for batches that others join.

        Args:
          state, other: `state_*` tensors.
          rows: int32 [n], the places in `state` of the n rows of `other`.

        Returns:
          the new state. Where `other` has longer caches, all rows get them.
        """
        return states.join(state, other, rows)

    def end(self, state, rows):
        """The state in which the given rows, int32 [n], have ended."""
        state = self.states.nested(state)
        ended = state["carry"]["ended"]
        ended = tf.tensor_scatter_nd_update(ended, rows[:, None], tf.ones_like(rows, tf.bool))
        return self.states.flat({**state, "carry": {**state["carry"], "ended": ended}})

    def tokenize(self, texts):
        """string [N] -> tokens int32 [N, T], 0 behind the end, and num_tokens int32 [N]."""
        tokens = self.tokenizer.tokenize(texts)
        return {"tokens": tokens.to_tensor(), "num_tokens": lengths_of(tokens)}

    def detokenize(self, tokens):
        """int32 [N, T] -> text string [N], of the tokens before the first 0."""
        return {"text": self.tokenizer.detokenize(tokens)}

    def describe(self):
        """layout, name, chat_template, separator, prefix, suffix: string; max_length: int32;
        reads_source: bool; labels: string [K], empty where an answer may be any text;
        special_tokens: string [K], see chat.Chat."""
        return {name: tf.convert_to_tensor(value) for name, value in self.description.items()}
