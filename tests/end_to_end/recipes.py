"""Small recipes of the three families on text made on the spot, run through the real command line."""

import contextlib
import io
import json
import os
import random

import gin
import numpy as np
import tensorflow as tf

from trainers import run
from trainers.callbacks import metrics_file
from trainers.checkpoints import STATE, Checkpoints

QUICK = "train.xla = False\n"
FAMILIES = {
    "decoder_lm": """
include "configs/recipes/shakespeare_chars.gin"
DecoderLM.num_layers = 2
DecoderLM.width = 32
DecoderLM.dropout = 0.1
train.callbacks = []
""",
    "lstm_lm": """
include "configs/recipes/lstm_words.gin"
LSTMLM.width = 16
LSTMLM.layer_dropout = 0.1
LEARNING_RATE = 0.3
""",
    "encoder_decoder": """
include "configs/recipes/translate_files.gin"
EncoderDecoder.num_layers = 1
EncoderDecoder.width = 32
inverse_square_root.warmup_steps = 10
TOKENIZER = "characters"
VOCABULARY_SIZE = None
parallel_files/text_to_text.metrics = ["chrf", "exact_match"]
train.callbacks = [@DecodedEvaluation]
""",
}
MACROS = {
    "STEPS": 20,
    "EVAL_EVERY": 10,
    "BATCH_SIZE": 4,
    "SEQUENCE_LENGTH": 32,
    "train.report_every_steps": 5,
    "train.export_at_end": False,
}


def write_texts(folder):
    """{family: macros that name its files}"""
    draw = random.Random(0)
    words = ["one", "two", "three", "more", "less"]
    for split, lines in (("train", 120), ("validation", 30), ("test", 20)):
        english = [" ".join(draw.choices(words, k=5)) for _ in range(lines)]
        for language in ("en", "de"):
            text = "\n".join(english if language == "en" else map(str.upper, english))
            with open(os.path.join(folder, f"{split}.{language}"), "w") as file:
                file.write(text + "\n")
    splits = ("train", "validation", "test")
    alone = {f"{s.upper()}_FILES": f"{folder}/{s}.en" for s in splits}
    pairs = {f"{s.upper()}_FILES": f"{folder}/{s}.{{language}}" for s in splits}
    return {"decoder_lm": alone, "lstm_lm": alone, "encoder_decoder": pairs}


def arguments(folder, family, **settings):
    """Flags of trainers.run for a family's recipe; a setting `train__xla` is train.xla."""
    files = write_texts(folder)[family]
    path = os.path.join(folder, f"{family}.gin")
    with open(path, "w") as file:
        file.write(FAMILIES[family] + QUICK)
    params = MACROS | files | {k.replace("__", "."): v for k, v in settings.items()}
    return [f"--gin_file={path}", *(f"--gin_param={k} = {v!r}" for k, v in params.items())]


def command(*flags):
    """(exit status, standard output, standard error) of trainers.run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run.main(["run", *flags])
    gin.clear_config()  # what it was told is not for the tests that follow
    return status, out.getvalue(), err.getvalue()


def metrics_of(model_dir, split=None):
    with open(os.path.join(model_dir, "metrics.jsonl"), encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [line for line in lines if split in (None, line["split"])]


def timeless(model_dir, *splits):
    """The lines of metrics.jsonl without what two runs of the same steps do not share."""
    return [
        {k: v for k, v in line.items() if k not in metrics_file.TIMES}
        for line in metrics_of(model_dir)
        if not splits or line["split"] in splits
    ]


def tensors(model_dir):
    """{name: array} of the newest checkpoint."""
    saved = Checkpoints(os.path.join(model_dir, "checkpoints"))
    reader = tf.train.load_checkpoint(os.path.join(saved.path(saved.newest()), STATE))
    names = set(reader.get_variable_to_shape_map())
    # Its object graph has Keras' names of layers, which count up within a process.
    return {name: reader.get_tensor(name) for name in names - {"_CHECKPOINTABLE_OBJECT_GRAPH"}}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
