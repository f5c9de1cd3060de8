"""This project's own recipes, as models to train from scratch; TensorFlow is not imported."""

import functools
import os
import re

from choosing.model import OURS, Model
from trainers import settings
from trainers.catalogue import Catalogue

FOLDER = os.path.join(settings.ROOT, "configs", "recipes")
IDS_OF_BYTES = 257


def models(tasks):
    """A Model of each recipe.

    Args:
      tasks: {name of a recipe: names of the tasks that it trains for}.
    """
    return [model_of(name, its_tasks) for name, its_tasks in tasks.items()]


def model_of(name, tasks):
    config = read(name)
    kind = config.bindings["", "Experiment", "model"].value.name
    values = {
        parameter: config.resolve(setting.value)
        for (_, owner, parameter), setting in config.bindings.items()
        if owner == kind
    }
    length = config.resolve(settings.Macro("SEQUENCE_LENGTH"))
    return Model(
        name=name,
        about=first_comment(name),
        parameters=parameters(kind, values, vocabulary(config)),
        context=length,
        licence="yours",
        languages=None,  # of whatever text it is trained on
        loads=OURS,
        reads_source=kind == "EncoderDecoder",
        tasks=tasks,
    )


@functools.cache
def defaults(kind):
    """{argument: its default} of a class of the zoo."""
    found = Catalogue().find(kind).parameters
    return {name: parameter.default for name, parameter in found.items()}


@functools.cache
def read(name):
    return settings.read([os.path.join(FOLDER, f"{name}.gin")])


def required(name):
    """The macros of a recipe that must be set."""
    config = read(name)
    return [m for m in config.used_macros() if config.macros[m].value == settings.REQUIRED]


def first_comment(name):
    with open(os.path.join(FOLDER, f"{name}.gin"), encoding="utf-8") as file:
        lines = re.match("(#.*\n)+", file.read())[0].splitlines()
    return " ".join(line.removeprefix("#").strip() for line in lines)


def vocabulary(config):
    """Ids of a recipe's tokenizer; None where only its text tells."""
    size = config.macros.get("VOCABULARY_SIZE")
    size = size and config.resolve(size.value)
    if isinstance(size, int):
        return size
    return IDS_OF_BYTES if config.resolve(settings.Macro("TOKENIZER")) == "bytes" else None


def parameters(kind, values, vocabulary):
    """Entries of the matrices of a model of the zoo, biases and gains left out; None if not known.

    Args:
      kind: name of its class.
      values: arguments of its class, defaults left out.
      vocabulary: V or None.
    """
    if vocabulary is None:
        return None
    s = {**defaults(kind), **values}
    width = s["width"]
    if kind == "LSTMLM":
        return s["num_layers"] * 8 * width**2 + (2 - s["tie_embeddings"]) * vocabulary * width
    head_width = s["head_width"] or width // s["num_heads"]
    gated = s["activation"] in ("swiglu", "geglu")
    attention = width * head_width * 2 * s["num_heads"]  # in and out, of queries
    attention += width * head_width * 2 * (s.get("num_kv_heads") or s["num_heads"])
    feed_forward = (3 if gated else 2) * width * (s["hidden_width"] or 4 * width)
    decoder = s["num_layers"] * (attention + feed_forward)
    if kind == "DecoderLM":
        return decoder + (2 - s["tie_embeddings"]) * vocabulary * width
    depth = s["num_encoder_layers"] or s["num_layers"]
    cross = s["num_layers"] * attention
    tables = {"all": 1, "target": 2, "inputs": 2, "none": 3}[s["tie_embeddings"]]
    return decoder + cross + depth * (attention + feed_forward) + tables * vocabulary * width
