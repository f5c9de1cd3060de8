"""Greedy decoding by GPT-2 12x768: prompts of 32 tokens, 64 more for each; and reading a prompt.

python scripts/benchmarks/decode.py WORK is our side of a work as of turns.py, as an export runs
it: tokens drawn a second, or read for prompts. The peers' are decode_torch.py and decode_keras_hub.py.
"""

import os
import statistics
import sys
import threading
import time
import typing

import turns

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

VOCABULARY_SIZE, LAYERS, WIDTH, HEADS, CONTEXT = 50257, 12, 768, 12, 1024
PROMPT, NEW_TOKENS, LONG_PROMPT = 32, 64, 512


class Work(typing.NamedTuple):
    """Rows 0 for reading a prompt instead of drawing."""

    weights: str
    peer_weights: str
    rows: int
    to_reach: str
    peer: str = "decode_torch.py"


WORKS = {
    "decode float32 B1": Work("float32", "float32", 1, ">= 2.0 x"),
    "decode int16 B1, peer bfloat16": Work("int16", "bfloat16", 1, ">= 2.0 x"),
    "decode int8 B1, peer float32": Work("int8", "float32", 1, ">= 3.0 x"),
    "decode float32 B8": Work("float32", "float32", 8, ">= 1.5 x"),
    "decode prompt of 512, float32": Work("float32", "float32", 0, ">= 1.2 x"),
} | {
    f"decode keras-hub {name}": Work(*settings, "> 1.0 x", "decode_keras_hub.py")
    for name, settings in {
        "float32 B1": ("float32", "float32", 1),
        "bfloat16 B1, ours int16": ("int16", "bfloat16", 1),
        "float32 B8": ("float32", "float32", 8),
    }.items()
}
BYTES = {"float32": 4, "int16": 2, "int8": 1}


def rows(peer_python, repeats, seconds, wanted=lambda name: True):
    """A table's rows of the works that are wanted, and the last one of the machine's memory."""
    bandwidth = read_bandwidth()
    here = os.path.dirname(os.path.abspath(__file__))
    for name, work in WORKS.items():
        if not wanted(name):
            continue
        # keras-hub runs where we do.
        python = peer_python if work.peer == "decode_torch.py" else sys.executable
        commands = [
            [sys.executable, os.path.join(here, "decode.py"), name],
            [python, os.path.join(here, work.peer), name],
        ]
        ours, peer = turns.alternate(commands, repeats, seconds)
        ratio = f"{statistics.median(ours) / statistics.median(peer):.2f}"
        if work.rows == 1:
            read = statistics.median(ours) * num_weights() * BYTES[work.weights]
            ratio += f"; {read / bandwidth:.0%} of what memory gives"
        yield name, ours, peer, ratio, work.to_reach
    yield "decode: memory is read at", None, None, f"{bandwidth / 1e9:.1f} GB/s", ""


def num_weights():
    """That a token reads: all matrices, the table once."""
    return VOCABULARY_SIZE * WIDTH + LAYERS * 12 * WIDTH**2


def read_bandwidth():
    """Bytes a second that THREADS threads read together, the best of five."""
    import numpy as np

    parts = [np.ones(2**26, np.float32) for _ in range(turns.THREADS)]

    def seconds():
        threads = [threading.Thread(target=np.dot, args=(part, part)) for part in parts]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    return sum(part.nbytes for part in parts) / min(seconds() for _ in range(5))


def gpt2():
    """The model, its weights at random."""
    from zoo import DecoderLM

    return DecoderLM(
        VOCABULARY_SIZE,
        LAYERS,
        WIDTH,
        HEADS,
        positions="learned",
        context_length=CONTEXT,
        norm="layer",
        activation="gelu",
        use_bias=True,
        tie_embeddings=True,
    )


def main():
    work = WORKS[sys.argv[1]]
    from trainers import startup

    startup.import_tensorflow()
    import numpy as np
    import tensorflow as tf

    from zoo.decoding import loop, samplers

    tf.config.threading.set_intra_op_parallelism_threads(turns.THREADS)
    model = gpt2().compact(work.weights)
    rows, length = (work.rows, PROMPT) if work.rows else (1, LONG_PROMPT)
    settings = samplers.settings(rows, min_new_tokens=NEW_TOKENS)
    settings["num_top"] = tf.zeros([rows], tf.int32)
    buffer = tf.zeros([rows, NEW_TOKENS], tf.int32)
    limits = tf.fill([rows], NEW_TOKENS)
    tokens = np.random.default_rng(0).integers(1, VOCABULARY_SIZE, (rows, length), np.int32)
    compiled = {"jit_compile": True, "autograph": False}
    begin = tf.function(lambda *args: loop.first(*loop.begin(model, *args)), **compiled)
    advance = tf.function(lambda carry: loop.advance(model, carry), **compiled)

    def step():
        carry = begin(tf.constant(tokens), limits, buffer, settings)
        if work.rows:
            carry = advance(carry)
        carry["last"].numpy()

    turns.serve(step, work.rows * NEW_TOKENS or LONG_PROMPT)


if __name__ == "__main__":
    main()
