"""A train step's peak memory beside what trainers/memory.py says before it.

python scripts/benchmarks/memory_estimates.py WORK, a name of WORKS, prints as JSON the bytes that a
process of its own took beyond what it had when TensorFlow was there, and the estimate.
"""

import json
import os
import resource
import subprocess
import sys

from memory import resident_bytes

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

DECODER = {"vocabulary_size": 65, "num_layers": 6, "width": 384, "num_heads": 6}
GPT2 = DECODER | {"norm": "layer", "activation": "gelu", "use_bias": True}
LARGE = DECODER | {"vocabulary_size": 50_000, "num_layers": 2, "tie_embeddings": True}
SEQUENCES = {"vocabulary_size": 8_000, "num_layers": 3, "width": 256, "num_heads": 4}
WORDS = {"vocabulary_size": 10_000, "num_layers": 2, "width": 650}

# name: (model, its settings, rows, length, what else is set)
WORKS = {
    "decoder 6x384 B8 T256": ("DecoderLM", DECODER, 8, 256, {}),
    "decoder 6x384 B16 T256": ("DecoderLM", DECODER, 16, 256, {}),
    "decoder 6x384 B16 T256, 4 micro-batches": ("DecoderLM", DECODER, 16, 256, {"accumulation": 4}),
    "decoder 6x384 B8 T512": ("DecoderLM", DECODER, 8, 512, {}),
    "decoder 6x384 B4 T1024": ("DecoderLM", DECODER, 4, 1024, {}),
    "decoder 6x384 B8 T512, rematerialised": (
        "DecoderLM",
        DECODER | {"rematerialise": True},
        8,
        512,
        {},
    ),
    "decoder 6x384 B8 T512, LoRA": ("DecoderLM", DECODER, 8, 512, {"lora": True}),
    "decoder 6x384 B8 T512, averages": ("DecoderLM", DECODER, 8, 512, {"ema_decay": 0.99}),
    "decoder 6x384 B8 T512, dropout": ("DecoderLM", DECODER | {"dropout": 0.1}, 8, 512, {}),
    "decoder 6x384 B8 T512, SwiGLU": ("DecoderLM", DECODER | {"activation": "swiglu"}, 8, 512, {}),
    "decoder 6x384 B8 T512, bfloat16": (
        "DecoderLM",
        DECODER,
        8,
        512,
        {"precision": "mixed_bfloat16"},
    ),
    "GPT-2 6x384 B8 T512": ("DecoderLM", GPT2, 8, 512, {}),
    "GPT-2 6x384 B8 T512, no XLA": ("DecoderLM", GPT2, 8, 512, {"xla": False}),
    "decoder 2x384 B8 T512 V50000": ("DecoderLM", LARGE, 8, 512, {}),
    "encoder-decoder 3+3x256 B32 T128 S128": (
        "EncoderDecoder",
        SEQUENCES,
        32,
        128,
        {"source": 128},
    ),
    "LSTM 2x650 B20 T35": ("LSTMLM", WORDS, 20, 35, {}),
    "LSTM 2x650 B64 T128": ("LSTMLM", WORDS, 64, 128, {}),
}


def rows():
    """(work, what it took, the estimate, the one over the other, what is to reach)."""
    for name in WORKS:
        command = [sys.executable, __file__, name]
        peak, estimate = json.loads(subprocess.check_output(command).splitlines()[-1])
        yield (
            f"memory of {name}",
            f"{peak / 2**20:,.0f} MiB",
            f"estimate: {estimate / 2**20:,.0f} MiB",
            f"{estimate / peak:.2f}",
            "0.75 to 1.30",
        )


def measure(kind, settings, batch, length, more):
    import keras
    import numpy as np
    import tensorflow as tf

    import zoo
    from trainers import losses, memory, optimizers, step
    from trainers.adaptation import LoRA
    from trainers.xla import use_xla

    tf.config.threading.set_intra_op_parallelism_threads(2)
    keras.config.set_dtype_policy(more.get("precision", "float32"))
    before = resident_bytes()
    model = getattr(zoo, kind)(**settings)
    if more.get("lora"):
        LoRA().apply(model)
    choice, source = more.get("xla", "auto"), more.get("source", 0)
    xla_parts = use_xla(choice, "float32")
    steps = {name: more[name] for name in ("accumulation", "ema_decay") if name in more}
    plan = memory.Plan(
        batch,
        length,
        source,
        more.get("accumulation", 1),
        averages="ema_decay" in more,
        xla=xla_parts,
        rematerialise=settings.get("rematerialise", False),
    )
    slots = memory.slot_bytes(keras.optimizers.AdamW(), model.trainable_variables)
    estimate = memory.estimate(model, slots, plan)

    optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.01)
    optimizers.prepare(optimizer, model.trainable_variables, [])
    train_step = step.TrainStep(
        model,
        optimizer,
        losses.CrossEntropy(),
        tf.distribute.get_strategy(),
        batch,
        clip_norm=1.0,
        xla=use_xla(choice),
        xla_parts=xla_parts,
        **steps,
    )
    generator = np.random.default_rng(0)

    def side(tokens, length):
        prefix = f"{tokens}_" if tokens == "source" else ""
        return {
            tokens: generator.integers(model.vocabulary_size, size=(batch, length), dtype=np.int32),
            f"{prefix}segments": np.ones((batch, length), np.int32),
            f"{prefix}positions": np.tile(np.arange(length, dtype=np.int32), (batch, 1)),
        }

    features = side("inputs", length) | (side("source", source) if source else {})
    features |= {"targets": features["inputs"], "weights": np.ones((batch, length), np.float32)}
    train_step.run(iter(tf.data.Dataset.from_tensors(features).repeat()), 3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return peak - before, estimate.total


if __name__ == "__main__":
    from trainers import startup

    startup.import_tensorflow()
    print(json.dumps(measure(*WORKS[sys.argv[1]])))
