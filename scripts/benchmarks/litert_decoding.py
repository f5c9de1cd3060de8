"""Tokens a second of GPT-2 12x768 in LiteRT, one row at a time, at a cache of 128.

python scripts/benchmarks/litert_decoding.py --num_threads=2
"""

import os
import statistics
import sys
import tempfile
import time

import decode
from absl import app, flags

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_threads", 2, "Of the processor.", lower_bound=1)
flags.DEFINE_integer("repeats", 5, "Texts of 97 tokens for each figure.", lower_bound=1)

MAX_LENGTH, PROMPT_LENGTH = 128, 32


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        write(folder)
        print("| weights | file | tokens/s, median (least to greatest) |")
        print("|---|---|---|")
        for name in ("float32", "int8"):
            path = os.path.join(folder, f"{name}.tflite")
            speeds = measure(path)
            size = f"{os.path.getsize(path) / 1e6:.0f} MB"
            spread = f"{statistics.median(speeds):.0f} ({min(speeds):.0f} to {max(speeds):.0f})"
            print(f"| {name} | {size} | {spread} |", flush=True)


def write(folder):
    from trainers import startup

    startup.import_tensorflow()
    import keras

    from trainers import litert

    model = decode.gpt2()
    for weight in model.weights:  # biases of zero would be left out of the file
        weight.assign_add(0.02 * keras.random.normal(weight.shape, seed=0))
    for name in litert.WEIGHTS:
        path = os.path.join(folder, f"{name}.tflite")
        litert.convert(model, path, MAX_LENGTH, PROMPT_LENGTH, name)


def measure(path):
    """Tokens a second of each text, the first step left out."""
    from trainers.litert_model import LiteRTModel

    model = LiteRTModel(path, FLAGS.num_threads)
    speeds = []
    for _ in range(FLAGS.repeats):
        times = []
        for _ in model.generate([0] * PROMPT_LENGTH, choose=lambda logits: logits[1:].argmax() + 1):
            times.append(time.perf_counter())
        speeds.append((len(times) - 1) / (times[-1] - times[0]))
    return speeds


if __name__ == "__main__":
    app.run(main)
