"""What a token costs at greater positions: a step of GPT-2 12x768, rotary, by the cache it reads.

python scripts/benchmark.py --only=positions. A cache of N tokens is there from the start and read
whole at each step, of which the last 32 are drawn; float32, one row, as an export with XLA draws
them. A step that reads more may take more time, but no more than its weights would for as many
bytes.

python scripts/benchmarks/positions.py REPEATS SECONDS prints JSON: seconds a step by N.
"""

import json
import os
import statistics
import subprocess
import sys

import decode
import turns

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

LENGTHS = (128, 512, 1024, 2048, 4096)
NEW_TOKENS = 32


def rows(repeats, seconds):
    """A table's rows: the work, seconds of a step, what is read, how fast, what is to reach."""
    command = [sys.executable, __file__, str(repeats), str(seconds)]
    taken = json.loads(subprocess.check_output(command))
    yield from compared({int(length): figures for length, figures in taken.items()})


def compared(taken):
    """See `rows`, of the seconds by length."""
    base, *longer = LENGTHS
    middles = {length: statistics.median(figures) for length, figures in taken.items()}
    weights = weights_bytes()
    base_speed = (weights + cache_bytes(base)) / middles[base]
    for length in LENGTHS:
        ratio = f"{base_speed / 1e9:.1f} GB/s"
        if length in longer:
            more = cache_bytes(length) - cache_bytes(base)
            share = more / base_speed / (middles[length] - middles[base])
            ratio = (
                f"{share * base_speed / 1e9:.1f} GB/s for what is more, {share:.2f} of the first"
            )
        yield (
            f"positions: a token at a cache of {length}",
            taken[length],
            f"{weights / 1e6:,.0f} MB of weights, {cache_bytes(length) / 1e6:,.0f} MB of cache",
            ratio,
            ">= 1.0 of the first" if length in longer else "",
        )


def weights_bytes():
    return 4 * decode.num_weights()


def cache_bytes(length):
    return 4 * 2 * decode.LAYERS * decode.WIDTH * length


def main():
    repeats, seconds = int(sys.argv[1]), float(sys.argv[2])
    from trainers import startup

    startup.import_tensorflow()
    import tensorflow as tf

    from zoo import DecoderLM
    from zoo.decoding import loop, samplers

    tf.config.threading.set_intra_op_parallelism_threads(turns.THREADS)
    model = DecoderLM(
        decode.VOCABULARY_SIZE,
        decode.LAYERS,
        decode.WIDTH,
        decode.HEADS,
        positions="rotary",
        norm="layer",
        activation="gelu",
        use_bias=True,
        tie_embeddings=True,
    ).compact("float32")
    settings = samplers.settings(1, min_new_tokens=NEW_TOKENS)
    settings["num_top"] = tf.zeros([1], tf.int32)
    # One token comes with the prompt, and is not timed.
    buffer, limits = tf.zeros([1, NEW_TOKENS + 1], tf.int32), tf.fill([1], NEW_TOKENS + 1)
    begun = loop.first(*loop.begin(model, tf.ones([1, 1], tf.int32), limits, buffer, settings))
    advance = tf.function(
        lambda carry: loop.advance(model, carry), jit_compile=True, autograph=False
    )

    def step(length):
        state = {**model.start(1, length), "index": tf.fill([1], length - NEW_TOKENS)}
        carry = {**begun, "state": state}
        return lambda: advance(carry)["last"].numpy()

    steps = {length: step(length) for length in LENGTHS}
    for each in steps.values():
        each()
    taken = {length: [] for length in LENGTHS}
    for _ in range(repeats):
        for length, each in steps.items():
            taken[length].append(turns.steps_median(each, seconds) / NEW_TOKENS)
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
