"""Fine-tuning of GPT-2's smallest checkpoint, with weights at random: speed, memory, loading.

python scripts/benchmark.py --only=fine_tuning compares a step of all weights, by `DecoderLM` and by
`PretrainedLM`, with Transformers on PyTorch, see fine_tuning_torch.py, the peak memory of low-rank
updates with that of all weights, and the time until a model has its weights with that of reading the
file alone.

python scripts/benchmarks/fine_tuning.py SIDE FOLDER is our side as of turns.py, "all", "hub" or
"lora", in tokens a second; the line "0" gets the bytes of its peak memory beyond what the process
had before there was a model. SIDE "load" prints seconds as JSON: of the imports, of reading the file,
and of loading the model.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import turns
from decode import CONTEXT, HEADS, LAYERS, VOCABULARY_SIZE, WIDTH, gpt2

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

ROWS, LENGTH = 4, 256
LEARNING_RATE = 3e-5


def rows(peer_python, repeats, seconds):
    """A table's rows: the work, ours, the peer, their ratio, what is to reach."""
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        ours = [sys.executable, os.path.abspath(__file__)]
        subprocess.run([*ours, "make", folder], check=True)
        peer = [peer_python, os.path.join(here, "fine_tuning_torch.py"), folder]
        with turns.started([[*ours, "all", folder], [*ours, "hub", folder], peer]) as sides:
            found, by_hub, theirs = turns.turns_of(sides, repeats, seconds)
            whole = sides[0].measure(0)
            way = sides[2].note
        with turns.started([[*ours, "lora", folder]]) as sides:
            ((fast,),) = (turns.turns_of(sides, 1, seconds),)
            little = sides[0].measure(0)
        loading = [
            json.loads(subprocess.check_output([*ours, "load", folder])) for _ in range(repeats)
        ]
    work = f"fine_tuning gpt2 {LAYERS}x{WIDTH} B{ROWS} T{LENGTH}"
    for name, its in {"": found, " by PretrainedLM": by_hub}.items():
        yield (
            f"{work}, all weights{name}",
            tokens(its),
            f"{tokens(theirs)}, {way}",
            f"{statistics.median(its) / statistics.median(theirs):.2f}",
            ">= 1.2 x",
        )
    yield (
        f"{work}, low-rank updates of qkv",
        tokens(fast),
        f"{tokens(found)}, all weights",
        f"{statistics.median(fast) / statistics.median(found):.2f}",
        "",
    )
    yield (
        f"{work}, peak memory of low-rank updates",
        f"{little / 2**20:,.0f} MiB",
        f"{whole / 2**20:,.0f} MiB, all weights",
        f"{little / whole:.2f}",
        "<= 0.60",
    )
    imports, read, loaded = (
        statistics.median(each[name] for each in loading) for name in ("import", "read", "load")
    )
    yield (
        "fine_tuning: from nothing to a model of 0.50 GB",
        f"{imports + loaded:.2f} s, of which imports {imports:.2f} s",
        f"{imports + read:.2f} s, imports and reading the file",
        f"{(imports + loaded) / (imports + read):.2f}",
        "<= 1.5",
    )


def tokens(figures):
    middle = statistics.median(figures)
    return f"{middle:,.0f} tokens/s ({min(figures):,.0f} to {max(figures):,.0f})"


def make(folder):
    """Writes the checkpoint."""
    import keras

    from trainers.hugging_face.load import save_model

    keras.utils.set_random_seed(0)
    save_model(gpt2(), folder, eos=VOCABULARY_SIZE - 1)


def hub_model():
    """KerasHub's GPT-2 of the same shape, its weights at random too."""
    from zoo import PretrainedLM

    settings = {
        "num_layers": LAYERS,
        "num_heads": HEADS,
        "hidden_dim": WIDTH,
        "intermediate_dim": 4 * WIDTH,
        "max_sequence_length": CONTEXT,
    }
    return PretrainedLM(VOCABULARY_SIZE, "GPT2", settings)


def batch():
    """int32 [ROWS, LENGTH + 1], the same for both sides."""
    import numpy as np

    return np.random.default_rng(0).integers(1, VOCABULARY_SIZE - 1, (ROWS, LENGTH + 1), "int32")


def make_steps(model):
    """A function of how many steps to run."""
    import keras
    import numpy as np
    import tensorflow as tf

    from trainers import losses, optimizers, step
    from trainers.xla import use_xla

    optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=0.01)
    train_step = step.TrainStep(
        model,
        optimizers.prepare(optimizer, model.trainable_variables, []),
        losses.CrossEntropy(),
        tf.distribute.get_strategy(),
        ROWS,
        clip_norm=1.0,
        xla=use_xla("auto"),
        xla_parts=use_xla("auto", "float32"),
    )
    row = batch()
    features = {
        "inputs": row[:, :-1],
        "targets": row[:, 1:],
        "weights": np.ones((ROWS, LENGTH), np.float32),
        "segments": np.ones((ROWS, LENGTH), np.int32),
        "positions": np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1)),
    }
    iterator = iter(tf.data.Dataset.from_tensors(features).repeat())
    return lambda: train_step.run(iterator, 1)


def load(folder):
    begin = time.perf_counter()
    from trainers.startup import import_tensorflow

    import_tensorflow()
    from trainers.hugging_face.load import load_model

    imported = time.perf_counter()
    with open(os.path.join(folder, "model.safetensors"), "rb", buffering=0) as file:
        file.read()
    read = time.perf_counter()
    load_model(folder)
    loaded = time.perf_counter()
    found = {"import": imported - begin, "read": read - imported, "load": loaded - read}
    print(json.dumps(found))


def main():
    side, folder = sys.argv[1:]
    if side == "load":
        return load(folder)
    from memory import resident_bytes

    from trainers import startup

    startup.import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(turns.THREADS)
    if side == "make":
        return make(folder)
    from trainers.adaptation import LoRA
    from trainers.hugging_face.load import load_model

    before = resident_bytes()
    model = hub_model() if side == "hub" else load_model(folder)
    if side == "lora":
        LoRA().apply(model)
    step = make_steps(model)
    for _ in range(3):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        if float(line):
            print(ROWS * LENGTH / turns.steps_median(step, float(line)), flush=True)
        else:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before, flush=True)
    return None


if __name__ == "__main__":
    main()
