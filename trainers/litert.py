"""From a model_dir to LiteRT: the model as one file for phones and small machines.

A file reads and writes tokens, not text, one row at a time, with every shape fixed. Its
signatures, which `litert_model.LiteRTModel` runs and C++, Kotlin or Swift can:

  prefill   (tokens int32 [1, P], num_tokens int32 [1]) -> token int32 [1, 1], state_*
  step      (token, state_*) -> logits float32 [1, V], and those of state_* that change
  describe  () -> max_new_tokens int32 [1], how often `step` may be called after `prefill`

`prefill` reads a prompt, filled up with anything to P, and gives the first token for `step`. What
it does not give of the state begins as zeros.
"""

import os
import tempfile
from collections.abc import Sequence

import gin
import tensorflow as tf

from trainers.checkpoints import name_of
from trainers.errors import UserError
from trainers.export import NO_GRADIENTS, text_settings
from trainers.model_dir import ModelDir
from zoo.decoding.loop import EOS

WEIGHTS = ("float32", "int8")


@gin.configurable("litert", denylist=["experiment", "model_dir"])
def export(
    experiment, model_dir: str, weights: Sequence[str] = WEIGHTS, prompt_length: int | None = None
):
    """Writes the trained model of a model_dir to litert/float32.tflite and litert/int8.tflite.

    Args:
      experiment: see experiment.py.
      model_dir: path of the run.
      weights: which of the two.
      prompt_length: P; None for half of the tokens that the model reads, or all of a source.

    Returns:
      The paths of the files.

    Raises:
      UserError: nothing has been trained there, or settings that do not fit.
    """
    directory = ModelDir(model_dir)
    model, _, steps = experiment.load(directory)
    max_length = text_settings(experiment, model)["max_length"]
    paths = []
    for kind in weights:
        path = os.path.join(directory.litert, f"{kind}.tflite")
        paths.append(convert(model, path, max_length, prompt_length, kind))
        print(f"exported {name_of(steps)} to {path}, {os.path.getsize(path) / 1e6:.1f} MB")
    return paths


def convert(model, path, max_length, prompt_length=None, weights="float32"):
    """Writes a model to a .tflite file.

    Args:
      model: a zoo.LanguageModel in float32.
      path: of the file.
      max_length: the most tokens in a row, prompt and answer together, and in a source.
      prompt_length: see `export`.
      weights: "float32"; or "int8": the matrices in 8 bits with a scale for each output, and
        their inputs rounded to 8 bits as they come (dynamic range quantisation).

    Returns:
      `path`.

    Raises:
      UserError: settings that do not fit.
    """
    if weights not in WEIGHTS:
        raise UserError(f"litert.weights: {weights!r} is none of {', '.join(map(repr, WEIGHTS))}")
    if model.compute_dtype != "float32":
        raise UserError(
            "LiteRT computes in float32: export with --gin_param='PRECISION = \"float32\"'"
        )
    if prompt_length is None:
        prompt_length = max_length if model.reads_source else max(2, max_length // 2)
    if not 2 <= prompt_length <= max_length:
        raise UserError(
            f"litert.prompt_length = {prompt_length}: it must be from 2 to {max_length}, "
            "the tokens that the model reads"
        )
    steps = Steps(model, max_length, prompt_length)
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".litert-", dir=folder) as scratch:
        saved = os.path.join(scratch, "saved_model")
        tf.saved_model.save(steps, saved, signatures=steps.functions, options=NO_GRADIENTS)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, [*steps.functions])
        if weights == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        new = os.path.join(scratch, "new.tflite")
        with open(new, "wb") as file:
            file.write(converter.convert())
        os.replace(new, path)
    return path


class Steps(tf.Module):
    """`start` and `extend` of a model as signatures with fixed shapes, at batch 1.

    Args:
      model: a zoo.LanguageModel.
      max_length, prompt_length: see `convert`.
    """

    def __init__(self, model, max_length, prompt_length):
        super().__init__(name="steps")
        # Variables and not the model: see `TextModel`.
        self.weights = [variable.value for variable in model.variables]
        vars(self)["model"] = model
        self.max_length = max_length
        self.prompt_length = prompt_length
        prompt = tf.TensorSpec([1, prompt_length], tf.int32, "tokens")
        num_tokens = tf.TensorSpec([1], tf.int32, "num_tokens")
        read = tf.function(self.read, autograph=False)
        _, state = read.get_concrete_function(prompt, num_tokens).structured_outputs
        self.state = tf.nest.map_structure(
            lambda part: tf.TensorSpec(part.shape, part.dtype), state
        )
        specs = {
            name: tf.TensorSpec(spec.shape, spec.dtype, name)
            for name, spec in named(self.state).items()
        }
        token = tf.TensorSpec([1, 1], tf.int32, "token")
        graphs = {
            "prefill": (self.prefill, {"tokens": prompt, "num_tokens": num_tokens}),
            "step": (self.step, {"token": token, **specs}),
            "describe": (self.describe, {}),
        }
        self.functions = {
            name: tf.function(method, autograph=False).get_concrete_function(**arguments)
            for name, (method, arguments) in graphs.items()
        }

    def prefill(self, tokens, num_tokens):
        token, state = self.read(tokens, num_tokens)
        # LiteRT takes equal constants for one output.
        given = {name: part for name, part in named(state).items() if not is_zeros(part)}
        return {"token": token, **given}

    def step(self, token, **state):
        nested = tf.nest.pack_sequence_as(self.state, [state[name] for name in named(self.state)])
        logits, new = self.model.extend(token, nested)
        # What stays as it is, such as a source's keys and values, need not be copied about.
        changed = {name: part for name, part in named(new).items() if part is not state[name]}
        return {"logits": logits[:, -1], **changed}

    def describe(self):
        read = 0 if self.model.reads_source else self.prompt_length - 1
        return {"max_new_tokens": tf.constant([self.max_length - read])}

    def read(self, tokens, num_tokens):
        """(the token to begin with [1, 1], the state before it)"""
        places = tf.range(self.prompt_length)
        if self.model.reads_source:
            held = tf.cast(places < num_tokens, tf.int32)[None]
            features = {"source": tokens, "source_segments": held}
            return tf.fill([1, 1], EOS), self.model.start(1, self.max_length, features)
        padding = self.prompt_length - num_tokens
        # From filled up at the right to filled up at the left, as `start` has it.
        tokens = tf.gather(tokens, tf.maximum(places - padding, 0), axis=1)
        _, state = self.model.extend(tokens[:, :-1], self.model.start(1, 0, {"padding": padding}))
        return tokens[:, -1:], self.model.with_room(state, self.max_length)


def named(state):
    return {f"state_{i}": part for i, part in enumerate(tf.nest.flatten(state))}


def is_zeros(part):
    value = tf.get_static_value(part)
    return value is not None and not value.any()
