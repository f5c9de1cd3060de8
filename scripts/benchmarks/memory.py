"""Memory and time of a train step: the loss in chunks or not, blocks recomputed or not.

python scripts/benchmarks/memory.py WAY LAYERS ROWS LENGTH VOCABULARY is a side as of turns.py
that answers with the seconds of a step, and the line "0" with the bytes of its peak memory
beyond what it had when the model was made. WAY is "plain", all logits of a batch at once,
"chunked", as trainers.run has it, or "rematerialised", that with blocks recomputed.
"""

import os
import resource
import statistics
import sys

import turns

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

WIDTH, HEADS = 256, 4
# (two ways, layers, rows, length, vocabulary); what is to reach of memory and time.
LOSS, BLOCKS = ("plain", "chunked"), ("chunked", "rematerialised")
CELLS = {
    (LOSS, 2, 16, 512, 50_000): "memory <= 0.33, time <= 1.05",
    (LOSS, 2, 16, 512, 10_000): "",
    (LOSS, 2, 16, 512, 130_000): "",
    (LOSS, 2, 32, 256, 50_000): "",
    (LOSS, 2, 8, 1024, 50_000): "",
    (LOSS, 2, 2, 4096, 50_000): "",
    (BLOCKS, 8, 4, 1024, 10_000): "",
    (BLOCKS, 8, 1, 4096, 10_000): "",
}


def rows(repeats, seconds):
    """A table's rows: the work, two ways' memory and time, their ratios, what is to reach."""
    for (ways, *shape), to_reach in CELLS.items():
        commands = [[sys.executable, __file__, way, *map(str, shape)] for way in ways]
        with turns.started(commands) as sides:
            times = turns.turns_of(sides, repeats, seconds)
            peaks = [side.measure(0) for side in sides]
        times = [statistics.median(figures) for figures in times]
        layers, batch, length, vocabulary = shape
        yield (
            f"memory {layers}x{WIDTH} B{batch} T{length} V{vocabulary}",
            *(
                f"{way}: {peak / 2**20:,.0f} MiB, {time:.2f} s"
                for way, peak, time in reversed(list(zip(ways, peaks, times, strict=True)))
            ),
            f"memory {peaks[1] / peaks[0]:.2f}, time {times[1] / times[0]:.2f}",
            to_reach,
        )


def make_steps(way, layers, batch, length, vocabulary):
    """A function of how many steps to run."""
    import keras
    import numpy as np
    import tensorflow as tf

    from trainers import losses, optimizers, step
    from trainers.xla import use_xla
    from zoo import DecoderLM
    from zoo.layers.dropout import step_seed

    class PlainStep(step.TrainStep):
        def sums_of_micro_batch(self, features, state, seed, scale):
            variables = [variable.value for variable in self.model.trainable_variables]
            with step_seed(seed), tf.GradientTape() as tape:
                logits, state = self.model(features, state=state, training=True)
                objective, nll = self.objective(logits, features["targets"], features["weights"])
                objective *= scale
            gradients = tape.gradient(objective, variables, unconnected_gradients="zero")
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
            return [nll, tf.reduce_sum(features["weights"]), *gradients], state

    tf.config.threading.set_intra_op_parallelism_threads(turns.THREADS)
    keras.utils.set_random_seed(0)
    model = DecoderLM(
        vocabulary,
        layers,
        WIDTH,
        HEADS,
        tie_embeddings=True,
        rematerialise=way == "rematerialised",
    )
    optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.01)
    optimizers.prepare(optimizer, model.trainable_variables, [])
    made = PlainStep if way == "plain" else step.TrainStep
    train_step = made(
        model,
        optimizer,
        losses.CrossEntropy(),
        tf.distribute.get_strategy(),
        batch,
        clip_norm=1.0,
        xla=use_xla("auto"),
    )
    generator = np.random.default_rng(0)
    shape = (batch, length)
    features = {
        "inputs": generator.integers(vocabulary, size=shape, dtype=np.int32),
        "targets": generator.integers(vocabulary, size=shape, dtype=np.int32),
        "weights": np.ones(shape, np.float32),
        "segments": np.ones(shape, np.int32),
        "positions": np.tile(np.arange(length, dtype=np.int32), (batch, 1)),
    }
    iterator = iter(tf.data.Dataset.from_tensors(features).repeat())
    return lambda count: train_step.run(iterator, count)


def resident_bytes():
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main():
    way, *shape = sys.argv[1:]
    from trainers import startup

    startup.import_tensorflow()
    steps = make_steps(way, *map(int, shape))
    made = resident_bytes()
    steps(1)
    print("ready", flush=True)
    for line in sys.stdin:
        if float(line):
            print(turns.steps_median(lambda: steps(1), float(line)), flush=True)
        else:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - made, flush=True)


if __name__ == "__main__":
    main()
