"""Our side of a train step: the model, step, loss and optimizer that trainers.run would use.

python scripts/benchmarks/train_step_ours.py NAME [XLA]: see `turns.serve`; XLA is auto, on or off.
"""

import os
import sys

import turns
from shapes import named

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))


def make_steps(work, xla="auto"):
    """A function of how many steps of `work` to run."""
    from trainers import startup

    startup.import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(turns.THREADS)
    model, optimizer = make_model(work)
    strategy = tf.distribute.get_strategy()
    return trained_by(work, model, optimizer, strategy, {"on": True, "off": False}.get(xla, xla))


def make_model(work):
    """(model, optimizer) of a work."""
    import keras

    from trainers import optimizers
    from zoo import LSTMLM, DecoderLM

    keras.utils.set_random_seed(0)
    if work.precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    if work.family == "gpt2":
        model = DecoderLM(
            work.vocabulary_size,
            work.num_layers,
            work.width,
            work.num_heads,
            context_length=work.length,
            positions="learned",
            norm="layer",
            activation="gelu",
            use_bias=True,
            tie_embeddings=True,
        )
        optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.01)
    else:
        model = LSTMLM(work.vocabulary_size, work.num_layers, work.width)
        optimizer = keras.optimizers.SGD(1e-3)
    return model, optimizers.prepare(optimizer, model.trainable_variables, [])


def trained_by(work, model, optimizer, strategy, xla="auto"):
    """A function of how many steps to take on a batch of noise."""
    import numpy as np
    import tensorflow as tf

    from trainers import losses, step
    from trainers.xla import use_xla

    train_step = step.TrainStep(
        model,
        optimizer,
        losses.CrossEntropy(),
        strategy,
        work.batch_size,
        clip_norm=1.0,
        xla=use_xla(xla),
        xla_parts=use_xla(xla, "float32"),
    )
    generator = np.random.default_rng(0)
    shape = (work.batch_size, work.length)
    features = {
        "inputs": generator.integers(work.vocabulary_size, size=shape, dtype=np.int32),
        "targets": generator.integers(work.vocabulary_size, size=shape, dtype=np.int32),
        "weights": np.ones(shape, np.float32),
        "segments": np.ones(shape, np.int32),
        # An LSTM's row goes on from the batch before: no position is 0.
        "positions": np.arange(work.length, dtype=np.int32)[None]
        + np.full(shape, int(work.family == "lstm"), np.int32),
    }
    replicas = strategy.num_replicas_in_sync
    share = {name: feature[: work.batch_size // replicas] for name, feature in features.items()}
    iterator = iter(
        strategy.distribute_datasets_from_function(
            lambda _: tf.data.Dataset.from_tensors(share).repeat()
        )
    )
    return lambda count: train_step.run(iterator, count)


def main():
    work = named(sys.argv[1])
    steps = make_steps(work, *sys.argv[2:])
    # The trainer runs all steps between two reports as one call: half a second of them here.
    count = max(1, round(0.5 / turns.seconds_of_a_step(lambda: steps(1))))
    turns.serve(lambda: steps(count), count * work.tokens)


if __name__ == "__main__":
    main()
