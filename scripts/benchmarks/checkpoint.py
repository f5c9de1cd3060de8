"""Saving a model of 124 million parameters, against writing as many bytes to the same disk.

python scripts/benchmarks/checkpoint.py FOLDER: prints {"save": s, "blocks": s, "disk": s, "bytes": n},
medians of turns: until it is on the disk, of which training waits so long; and so many bytes.
"""

import json
import os
import shutil
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

TURNS = 5


def main():
    from trainers import startup

    startup.import_tensorflow()
    import keras
    import tensorflow as tf

    from trainers import checkpoints, losses, optimizers, step, train_state
    from zoo import DecoderLM

    folder = os.path.join(sys.argv[1], "checkpoint_benchmark")
    model = DecoderLM(
        50257,
        num_layers=12,
        width=768,
        num_heads=12,
        context_length=1024,
        positions="learned",
        norm="layer",
        activation="gelu",
        use_bias=True,
        tie_embeddings=True,
    )
    optimizer = optimizers.prepare(keras.optimizers.AdamW(1e-4), model.trainable_variables, [])
    strategy = tf.distribute.get_strategy()
    state = train_state.TrainState(
        step.TrainStep(model, optimizer, losses.CrossEntropy(), strategy, rows=1, xla=False)
    )
    saved = checkpoints.Checkpoints(folder, keep=1)
    saves, blocks, writes = [], [], []
    try:
        for turn in range(1, TURNS + 1):
            begin = time.perf_counter()
            state.gather()
            saved.save_soon(state, turn, {})
            blocks.append(time.perf_counter() - begin)
            saved.wait()
            saves.append(time.perf_counter() - begin)
            names = os.listdir(saved.path(turn))
            size = sum(os.path.getsize(os.path.join(saved.path(turn), name)) for name in names)
            writes.append(seconds_to_write(os.path.join(folder, "plain"), size))
    finally:
        shutil.rmtree(folder)
    turns = {"save": saves, "blocks": blocks, "disk": writes}
    medians = {name: statistics.median(each) for name, each in turns.items()}
    print(json.dumps(medians | {"bytes": size}))


def seconds_to_write(path, size):
    """So many bytes, until they are on the disk."""
    block = os.urandom(1 << 24)
    begin = time.perf_counter()
    with open(path, "wb", buffering=0) as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
        os.fsync(file.fileno())
    seconds = time.perf_counter() - begin
    os.remove(path)
    return seconds


if __name__ == "__main__":
    main()
