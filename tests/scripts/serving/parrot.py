"""An export without TensorFlow's graphs: it says a prompt again and again, byte by byte.

A prompt that ends with "!" is said once, and then <eos>. With a temperature, small letters are
drawn by the seed and the row's number. Prompts may ask for trouble: "raise in start" and "raise in
next" do, and each step waits where a running row's prompt begins with "slow".
"""

import threading
import time

import numpy as np
import tensorflow as tf

MAX_LENGTH = 64
DEFAULTS = {
    "max_new_tokens": 256,
    "min_new_tokens": 0,
    "temperature": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": 0,
}
PROMPT, TOKENS, NUMBERS = "state_0", "state_1", "state_2"
COUNT, LIMIT, ENDED, FINISHED, TEMPERATURE, SEED, ROW = range(7)


class Parrot:
    """Implements the export's functions; remembers how it was called.

    Args:
      layout, chat_template, name: what `describe` says.
      seconds: how long a step takes beside a slow row.
      per_step: tokens that a step draws, more than one as with a draft.
    """

    def __init__(
        self,
        layout="language_modelling",
        chat_template="",
        name="parrot",
        seconds=0.05,
        per_step=1,
    ):
        self.description = {"layout": layout, "chat_template": chat_template, "name": name}
        self.seconds = seconds
        self.per_step = per_step
        self.starts = []  # the arguments of each start
        self.shapes = []  # of the states of each next
        self.threads = set()  # which called start, next, join and end

    def describe(self):
        texts = {name: tf.constant(value) for name, value in self.description.items()}
        return {**texts, "max_length": tf.constant(MAX_LENGTH)}

    def start(self, *, prompts, **given):
        self.threads.add(threading.get_ident())
        values = {name: value.numpy().tolist() for name, value in given.items()}
        texts = [text.decode() for text in prompts.numpy()]
        self.starts.append({"prompts": texts, **values})
        if any("raise in start" in text for text in texts):
            raise ValueError("start was asked to raise")
        copies = values.pop("num_return_sequences", 1)
        rows, numbers, limits = [], [], []
        for i, text in enumerate(texts):
            settings = {**DEFAULTS, **{name: value[i] for name, value in values.items()}}
            tokens = encode(text)[-MAX_LENGTH:]
            limits.append(min(settings["max_new_tokens"], MAX_LENGTH))
            limit = min(settings["max_new_tokens"], MAX_LENGTH - len(tokens))
            for copy in range(copies):
                rows.append(tokens)
                sampling = [settings["temperature"], settings["seed"], copy]
                numbers.append([0, limit, limit <= 0, False, *sampling])
        tokens = np.zeros([len(rows), max(limits)], "int32")
        return self.drawn(padded(rows), tokens, np.array(numbers, "float64"), 1)

    def next(self, *, state, steps):
        self.threads.add(threading.get_ident())
        prompts, tokens, numbers = (np.array(state[name]) for name in (PROMPT, TOKENS, NUMBERS))
        self.shapes.append(tokens.shape)
        if any("raise in next" in text for text in running(prompts, numbers).values()):
            raise ValueError("next was asked to raise")
        return self.drawn(prompts, tokens, numbers, int(steps) * self.per_step)

    def drawn(self, prompts, tokens, numbers, count):
        """What both return, after so many tokens more."""
        texts = running(prompts, numbers)
        if any(text.startswith("slow") for text in texts.values()):
            time.sleep(self.seconds)
        for _ in range(count):
            for row, text in texts.items():
                if not numbers[row, ENDED]:
                    place = int(numbers[row, COUNT])
                    token = draw(text, place, *numbers[row, TEMPERATURE:])
                    tokens[row, place] = token
                    numbers[row, COUNT] += 1
                    numbers[row, FINISHED] = token == 0
                    numbers[row, ENDED] = token == 0 or place + 1 == numbers[row, LIMIT]
        counts = numbers[:, COUNT].astype("int32")
        likely = np.arange(20) + 66  # capital letters
        top = np.where(np.arange(20) == 0, tokens[..., None], likely)
        output = {
            "text": self.detokenize(tokens=tokens)["text"],
            "tokens": tokens,
            "num_tokens": counts,
            "token_log_probabilities": -0.25 * (np.arange(tokens.shape[1]) < counts[:, None]),
            "top_tokens": top.astype("int32"),
            "top_log_probabilities": np.broadcast_to(-0.25 - np.arange(20.0), top.shape),
            "ended": numbers[:, ENDED] > 0,
            "finished": numbers[:, FINISHED] > 0,
            PROMPT: prompts,
            TOKENS: tokens,
            NUMBERS: numbers,
        }
        return {name: tf.constant(part) for name, part in output.items()}

    def join(self, *, state, other, rows):
        self.threads.add(threading.get_ident())
        joined = {}
        for name in state:
            width = max(state[name].shape[1], other[name].shape[1])
            parts = [
                np.pad(part[name], [(0, 0), (0, width - part[name].shape[1])])
                for part in (state, other)
            ]
            parts[0][np.array(rows)] = parts[1]
            joined[name] = tf.constant(parts[0])
        return joined

    def end(self, *, state, rows):
        self.threads.add(threading.get_ident())
        numbers = np.array(state[NUMBERS])
        numbers[np.array(rows), ENDED] = 1
        return {**state, NUMBERS: tf.constant(numbers)}

    def tokenize(self, *, texts):
        tokens = [encode(text.decode()) for text in texts.numpy()]
        counts = tf.constant([len(row) for row in tokens], tf.int32)
        return {"tokens": tf.constant(padded(tokens)), "num_tokens": counts}

    def detokenize(self, *, tokens):
        tokens = np.array(tokens)
        if tokens.max(initial=0) > 256:
            raise ValueError("there are 257 tokens")
        return {"text": tf.constant([decode(row).encode() for row in tokens], tf.string)}


def running(prompts, numbers):
    """{row: prompt} of the rows that have not ended."""
    rows = [row for row in range(len(numbers)) if not numbers[row, ENDED]]
    return {row: decode(prompts[row]) for row in rows}


def draw(prompt, count, temperature, seed, row):
    if temperature:
        return int(np.random.default_rng([int(seed), int(row), count]).integers(97, 123)) + 1
    said = encode(prompt or ".")
    if prompt.endswith("!") and count == len(said):
        return 0
    return said[count % len(said)]


def encode(text):
    return [byte + 1 for byte in text.encode()]


def decode(tokens):
    tokens = list(tokens)
    end = tokens.index(0) if 0 in tokens else len(tokens)
    return bytes(int(token) - 1 for token in tokens[:end]).decode("utf-8", "replace")


def padded(rows):
    width = max(map(len, rows), default=0)
    rows = [[*row, *[0] * (width - len(row))] for row in rows]
    return np.array(rows, "int32").reshape(len(rows), width)
