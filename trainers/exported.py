"""An export as Python calls it: prompts in batches of like length, answers as Python's strings.

Needs TensorFlow and tensorflow-text alone."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401, whose operations the tokenizers are made of

from trainers.description import Description
from trainers.generation_options import ROW_SEED
from trainers.text_stream import TextStream

NEEDED = ("generate", "beam_search", "score", "start", "next", "tokenize", "describe")
NOT_FOUND = -1e29  # log-probability below which a beam is none


class Generated(NamedTuple):
    """A text, and the log-probability of its tokens under the model's own distribution."""

    text: str
    log_probability: float


class ExportedModel:
    """A SavedModel of export.py.

    Attributes:
      functions: the loaded SavedModel.
      description: what it says of itself, a `Description`.

    Args:
      folder: of the SavedModel.

    Raises:
      ValueError: it lacks what is needed here.
    """

    def __init__(self, folder):
        functions = tf.saved_model.load(folder)
        check_functions(functions, NEEDED, folder)
        self.take(functions)

    @classmethod
    def of(cls, functions):
        """One of a `text_model.TextModel`, as if it had been exported."""
        self = cls.__new__(cls)
        self.take(functions)
        return self

    def take(self, functions):
        self.functions = functions
        self.description = Description.of(functions)

    def generate(self, prompts, options):
        """Continues or answers prompts.

        Args:
          prompts: list of strings.
          options: see `generation_options.read`.

        Yields:
          (index of a prompt, its list of `Generated`), as they come: the longest prompts first,
          where memory that does not suffice shows at once.

        Raises:
          ValueError: a prompt is too long and must not be shortened.
        """
        prefixes = self.prefixes(options, len(prompts))
        run = self.beams if options.num_beams > 1 else self.texts
        first = 0
        for places in by_length(prompts, options.batch_size):
            batch = [prompts[i] for i in places], [prefixes[i] for i in places]
            yield from zip(places, run(*batch, options, first), strict=True)
            first += len(places)

    def texts(self, prompts, prefixes, options, first):
        written = self.run("generate", prompts, prefixes, options, first, stop=options.stop)
        return rows(written["text"], written["log_probabilities"])

    def beams(self, prompts, prefixes, options, first):
        names = ("max_new_tokens", "num_beams", "num_return_sequences")
        found = self.call(
            "beam_search",
            prompts,
            prefixes,
            options,
            **{name: tf.constant(getattr(options, name), tf.int32) for name in names},
            length_penalty=tf.constant(options.length_penalty, tf.float32),
            early_stopping=tf.constant(options.early_stopping is True),
            exhaustive=tf.constant(options.early_stopping == "never"),
        )
        return [
            [
                Generated(TextStream(options.stop).feed(text, ended=True)[0], log_probability)
                for text, log_probability in row
                if log_probability > NOT_FOUND
            ]
            for row in rows(found["text"], found["log_probabilities"])
        ]

    def stream(self, prompt, options):
        """Yields the text of one answer in pieces, as soon as they are certain."""
        drawn = self.run("start", [prompt], self.prefixes(options, 1), options)
        stream = TextStream(options.stop)
        while True:
            ended = bool(drawn["ended"][0])
            text = drawn["text"].numpy()[0].decode(errors="replace")
            piece, stopped = stream.feed(text, ended)
            if piece:
                yield piece
            if ended or stopped:
                return
            drawn = self.functions.next(state=state_of(drawn), steps=tf.constant(1))

    def score(self, prompts, continuations, batch_size=8):
        """The log-probability of each continuation given its prompt, a list of floats.

        Raises:
          ValueError: a continuation is longer than what the model reads.
        """
        return [score for score, _ in self.judge(prompts, continuations, batch_size)]

    def judge(self, prompts, continuations, batch_size=8):
        """[(log-probability, whether each token is the likeliest), ...] of continuations.

        Raises:
          ValueError: a continuation is longer than what the model reads.
        """
        found = [(0.0, False)] * len(prompts)
        pairs = list(zip(prompts, continuations, strict=True))
        for places in by_length([prompt + text for prompt, text in pairs], batch_size):
            given, texts = zip(*(pairs[i] for i in places), strict=True)
            try:
                scored = self.functions.score(
                    prompts=tf.constant(given), continuations=tf.constant(texts)
                )
            except tf.errors.InvalidArgumentError:
                raise ValueError(
                    f"a continuation has more than the {self.description.max_length} tokens that "
                    "this model can read"
                ) from None
            for place, judged in zip(places, judgements(scored), strict=True):
                found[place] = judged
        return found

    def judge_tokens(self, pairs, batch_size=8):
        """The same of tokens: [(those that are read before, those that are scored), ...].

        Only of a model that reads no source.

        Raises:
          ValueError: an older export, which has no function for it.
        """
        check_functions(self.functions, ["score_tokens"], "this export")
        found = [(0.0, False)] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i][0]) - len(pairs[i][1]))
        for first in range(0, len(pairs), batch_size):
            places = order[first : first + batch_size]
            rows = [[*pairs[i][0], *pairs[i][1]] for i in places]
            scored = self.functions.score_tokens(
                tokens=tf.ragged.constant(rows, tf.int32).to_tensor(),
                lengths=tf.constant([len(row) for row in rows]),
                num_tokens=tf.constant([len(pairs[i][1]) for i in places]),
            )
            for place, judged in zip(places, judgements(scored), strict=True):
                found[place] = judged
        return found

    def fits(self, prompt, max_new_tokens):
        """Whether a prompt can be read whole and leaves room for an answer."""
        return bool(self.which_fit([prompt], max_new_tokens)[0])

    def which_fit(self, prompts, max_new_tokens):
        """bool [N], `fits` of each prompt."""
        said = self.description
        texts = [said.prefix + prompt + said.suffix for prompt in prompts]
        read = self.functions.tokenize(texts=tf.constant(texts))
        return read["num_tokens"].numpy() <= self.longest_prompt(max_new_tokens)

    def longest_prompt(self, max_new_tokens):
        """How many tokens of a prompt are read where so many new ones are asked for."""
        said = self.description
        if said.reads_source:
            return said.max_length - 1  # an encoder reads the <eos> behind it, and nothing else
        answer = min(max_new_tokens, (said.max_length + 1) // 2)
        # Where texts are answered, an <eos> stands between both.
        return said.max_length - answer - (said.layout == "text_to_text")

    def run(self, function, prompts, prefixes, options, first=0, **more):
        """Calls `generate` or `start`, with a seed that goes on from the `first` prompts."""
        integers = ("max_new_tokens", "min_new_tokens", "top_k", "num_return_sequences")
        numbers = ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty")
        numbers += ("frequency_penalty",)
        seed = (options.seed + ROW_SEED * first * options.num_return_sequences) % 2**32
        if "stop" in more:
            more["stop"] = tf.constant(more["stop"], tf.string)
        return self.call(
            function,
            prompts,
            prefixes,
            options,
            **{name: tf.constant(getattr(options, name), tf.int32) for name in integers},
            **{name: tf.constant(getattr(options, name), tf.float32) for name in numbers},
            seed=tf.constant(np.uint32(seed).astype("int32")),
            **more,
        )

    def call(self, function, prompts, prefixes, options, **arguments):
        try:
            return getattr(self.functions, function)(
                prompts=tf.constant(prompts),
                forced=tf.constant(prefixes),
                truncate=tf.constant(bool(options.truncation)),
                **arguments,
            )
        except tf.errors.InvalidArgumentError:
            if options.truncation:
                raise
            raise ValueError(
                "a prompt is too long for this model, which reads and writes "
                f"{self.description.max_length} tokens at the most; shorten it, or set "
                "truncation=True"
            ) from None

    def prefixes(self, options, count):
        """What each of so many answers begins with."""
        if isinstance(options.answer_prefix, str):
            return [options.answer_prefix] * count
        if len(options.answer_prefix) != count:
            raise ValueError(
                f"answer_prefix has {len(options.answer_prefix)} strings for {count} prompts"
            )
        return list(options.answer_prefix)


def check_functions(export, names, folder):
    """Raises ValueError where a loaded SavedModel lacks one of the functions."""
    missing = [f"no function {name!r}" for name in names if not hasattr(export, name)]
    for graph in getattr(getattr(export, "start", None), "concrete_functions", ()):
        if "start" in names and "text" not in graph.structured_outputs:
            missing.append("a function 'start' that draws nothing")
    if missing:
        raise ValueError(
            f"{folder}: this export has {missing[0]}, as older ones; make it "
            "again with python -m trainers.run --mode=export --model_dir=..."
        )


def state_of(outputs):
    """Of what `start` or `next` returns, what the `next` after it takes."""
    return {name: part for name, part in outputs.items() if name.startswith("state_")}


def judgements(scored):
    """[(log-probability, whether it is the likeliest), ...] of what `score` returns."""
    return list(
        zip(
            map(float, scored["log_probabilities"].numpy()),
            map(bool, scored["likeliest"].numpy()),
            strict=True,
        )
    )


def by_length(texts, batch_size):
    """Yields lists of places of `texts`: those of like length together, the longest first."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i].encode(errors="replace")))
    for first in range(0, len(order), batch_size):
        yield order[first : first + batch_size]


def rows(texts, log_probabilities):
    """Tensors [N, R] to lists of lists of `Generated`."""
    pairs = zip(texts.numpy(), log_probabilities.numpy().tolist(), strict=True)
    return [
        [Generated(text.decode(errors="replace"), value) for text, value in zip(*row, strict=True)]
        for row in pairs
    ]
