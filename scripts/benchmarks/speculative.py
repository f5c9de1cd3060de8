"""What a draft gains: GPT-2 12x768 with a draft of 2x256, one row, as an export runs it.

python scripts/benchmarks/speculative.py --weights=int8

Weights are random, so how often a draft is right is not measured but set. At temperature 0 it is
never right. At a temperature so high that the logits vanish the noise alone decides, which is the
same for both: it is always right. Between the two a step takes longer with each token that is
drawn, and the second table has what comes of it when each proposal is right with a probability.
"""

import os
import statistics
import sys
import time

import decode
import turns
from absl import app, flags

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

FLAGS = flags.FLAGS
flags.DEFINE_enum("weights", "float32", list(decode.BYTES), "Of both models.")
flags.DEFINE_integer("proposals", 4, "Tokens that the draft proposes in a step.", lower_bound=1)
flags.DEFINE_integer("layers", 2, "Of the draft.", lower_bound=1)
flags.DEFINE_integer("width", 256, "Of the draft.", lower_bound=64)
flags.DEFINE_integer("new_tokens", 64, "To draw in a turn.", lower_bound=2)
flags.DEFINE_integer("repeats", 5, "Turns.", lower_bound=1)

NOISE_ALONE = 1e9  # temperature


def main(_):
    from trainers import startup

    startup.import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(turns.THREADS)
    model = decode.gpt2().compact(FLAGS.weights)
    draft = make_draft().compact(FLAGS.weights)
    print("| | ms a step, median (least to greatest) | tokens a step |")
    print("|---|---|---|")
    seconds = {}
    for name, each, temperature in (
        ("without a draft", None, 0.0),
        ("without a draft, noise alone", None, NOISE_ALONE),
        ("with a draft that is never right", draft, 0.0),
        ("with a draft that is always right", draft, NOISE_ALONE),
    ):
        times, per_step = measure(model, each, temperature)
        seconds[each is draft, temperature] = statistics.median(times)
        middle, least, most = (1000 * f(times) for f in (statistics.median, min, max))
        print(f"| {name} | {middle:.1f} ({least:.1f} to {most:.1f}) | {per_step:.2f} |", flush=True)

    print("\n| proposals that are right | tokens a step | speed-up |")
    print("|---|---|---|")
    wrong, right = seconds[True, 0.0], seconds[True, NOISE_ALONE]
    for share in (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0):
        tokens = sum(share**i for i in range(FLAGS.proposals + 1))
        step = wrong + (right - wrong) * (tokens - 1) / FLAGS.proposals
        print(f"| {share:.0%} | {tokens:.2f} | {tokens * seconds[False, 0.0] / step:.2f} |")


def make_draft():
    from zoo import DecoderLM

    return DecoderLM(
        decode.VOCABULARY_SIZE, FLAGS.layers, FLAGS.width, FLAGS.width // 64, tie_embeddings=True
    )


def measure(model, draft, temperature):
    """(seconds of a step, a figure a turn; tokens that a step draws)"""
    import numpy as np
    import tensorflow as tf

    from zoo.decoding import loop, samplers, speculative

    settings = samplers.settings(1, min_new_tokens=FLAGS.new_tokens, temperature=temperature)
    settings["num_top"] = tf.zeros([1], tf.int32)
    buffer, limits = tf.zeros([1, FLAGS.new_tokens], tf.int32), tf.constant([FLAGS.new_tokens])
    tokens = np.random.default_rng(0).integers(1, decode.VOCABULARY_SIZE, (1, decode.PROMPT))
    prompts = tf.constant(tokens, tf.int32)

    @tf.function(jit_compile=True, autograph=False)
    def begin():
        if draft is None:
            return loop.first(*loop.begin(model, prompts, limits, buffer, settings))
        return loop.first(
            *speculative.begin(
                model, draft, prompts, limits, buffer, settings, proposals=FLAGS.proposals
            )
        )

    @tf.function(jit_compile=True, autograph=False)
    def advance(carry, steps):
        if draft is None:
            return loop.advance(model, carry, steps)
        return speculative.advance(model, draft, carry, steps, FLAGS.proposals)

    begun = begin()
    most = tf.int32.max
    steps, carry = 0, begun
    while not carry["ended"].numpy().all():
        carry = advance(carry, tf.constant(1))
        steps += 1
    seconds = []
    for _ in range(FLAGS.repeats):
        start = time.perf_counter()
        advance(begun, tf.constant(most))["last"].numpy()
        seconds.append((time.perf_counter() - start) / steps)
    return seconds, (FLAGS.new_tokens - 1) / steps  # the first comes with the prompt


if __name__ == "__main__":
    app.run(main)
