"""The other peer of decoding: keras-hub's GPT-2 and its `generate`, on TensorFlow.

python scripts/benchmarks/decode_keras_hub.py WORK: see `decode.py`. It runs with XLA or without,
whichever is faster.
"""

import os
import sys

import turns
from decode import CONTEXT, HEADS, LAYERS, NEW_TOKENS, PROMPT, VOCABULARY_SIZE, WIDTH, WORKS

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))


def main():
    work = WORKS[sys.argv[1]]
    from trainers import startup

    startup.import_tensorflow()
    import keras_hub
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(turns.THREADS)
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=VOCABULARY_SIZE,
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=4 * WIDTH,
        max_sequence_length=CONTEXT,
        dtype=work.peer_weights,
    )
    shape = (work.rows, PROMPT + NEW_TOKENS)
    prompt = np.broadcast_to(np.arange(shape[1]) < PROMPT, shape)
    tokens = np.random.default_rng(0).integers(1, VOCABULARY_SIZE, shape, np.int32)
    inputs = {"token_ids": tokens * prompt, "padding_mask": prompt}

    def way(xla):
        model = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
        model.compile(sampler="greedy", jit_compile=xla)
        return lambda: model.generate(inputs, stop_token_ids=None)

    step = min((way(xla) for xla in (True, False)), key=turns.seconds_of_a_step)
    turns.serve(step, work.rows * NEW_TOKENS)


if __name__ == "__main__":
    main()
