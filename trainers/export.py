"""From a model_dir to a SavedModel that answers strings with strings.

The SavedModel needs TensorFlow and tensorflow_text to load, nothing of this
project. Its signatures, each also a function of the loaded object
(`tf.saved_model.load(folder).generate(["def "], max_new_tokens=20)`), are those
of `text_model.TextModel`, where shapes and meanings are written down:

  serving_default  generate(prompts, max_new_tokens=256, temperature=0.0, top_k=0, top_p=1.0,
                   num_return_sequences=1, stop=[], seed=0, ...)
                   -> text, log_probabilities, tokens, num_tokens, finished, ...
  complete         (prompts, max_new_tokens=256) -> text
  beam_search      (prompts, max_new_tokens=256, num_beams=4, length_penalty=1.0, ...)
                   -> text, scores, log_probabilities, tokens
  score            (prompts, continuations)
                   -> log_probabilities, token_log_probabilities, num_tokens
  start            (prompts, what generate takes but stop)
                   -> text, ended, finished, tokens, num_tokens, ..., state_*
  next             (state_*, steps=1) -> the same
  join             (state_*, other_state_*, rows) -> state_*
  end              (state_*, rows) -> state_*
  tokenize         (texts) -> tokens, num_tokens
  detokenize       (tokens) -> text
  describe         () -> layout, max_length, name, chat_template, special_tokens, separator,
                   prefix, suffix, reads_source, labels

Arguments with a default may be left out, by clients of a model server as well.
"""

import os
import tempfile
import warnings
from typing import Literal

import gin
import keras
import numpy as np
import tensorflow as tf

from trainers import drafting, model_card
from trainers.checkpoints import name_of
from trainers.errors import UserError
from trainers.metrics import Evaluation
from trainers.model_dir import ModelDir
from trainers.startup import filtered_stderr
from trainers.text_model import TextModel
from zoo.decoding.loop import EOS
from zoo.decoding.speculative import PROPOSALS

# TensorFlow keeps custom gradients of what it loads, with the graphs around, until the process ends.
NO_GRADIENTS = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
PROBES = ("The quick brown fox", "a", "")
PROBE_TOKENS = 8


# Parameters from which on a step is saved more by XLA than its compilation takes, a few seconds
# for each of a few shapes.
WORTH_COMPILING = 20_000_000


@gin.configurable("export", denylist=["experiment", "model_dir"])
def export(
    experiment,
    model_dir: str,
    weights: Literal["float32", "bfloat16", "int16", "int8", "int4"] = "float32",
    xla: bool | None = None,
    name: str | None = None,
    chat_template: str | None = None,
    licence: str = "not stated",
    draft: str = "",
    proposals: int = PROPOSALS,
    calibration_batches: int = 0,
):
    """Exports the trained model of a model_dir to its folder export/, with a model_card.md.

    Args:
      experiment: see experiment.py.
      model_dir: path of the run.
      weights: how they are kept; what fewer bytes do to the perplexity is measured and printed.
      xla: compile decoding; None for large models, and where weights have fewer bytes.
      name: of the model; None for that of the model_dir.
      chat_template: in Jinja, see chat_template.py; None for that of the task.
      licence: of the model, for its card.
      draft: path of another model_dir, the smaller model of which drafts what is generated, see
        zoo/decoding/speculative.py; "" for none.
      proposals: tokens that it proposes in a step.
      calibration_batches: of the training split, on which weights of "int4" are to do what they did,
        see zoo/layers/rounding.py; 0 to round each to the nearest.

    Returns:
      The folder of the SavedModel.

    Raises:
      UserError: nothing has been trained there, weights that the model cannot have, or the draft
        does not fit.
      ExportError: what was saved differs from the model; an earlier export is as it was.
    """
    directory = ModelDir(model_dir)
    draft = os.path.expanduser(draft)
    recipe = drafting.check(draft) if draft else None
    # Whatever it was trained in: kept as they are, weights are turned into nothing else at a step.
    keras.config.set_dtype_policy("float32")
    model, tokenizer, steps = experiment.load(directory)
    check_weights(model, weights)
    if calibration_batches and weights != "int4":
        raise UserError(
            f"export.calibration_batches = {calibration_batches}: only weights of 'int4' are rounded "
            f"by what they are to do, and these are {weights!r}"
        )
    parameters = model.count_params()
    if xla is None:
        xla = weights != "float32" or parameters >= WORTH_COMPILING
    settings = text_settings(experiment, model)
    draft_model, drafted_by = None, "none"
    if recipe:
        draft_model = drafting.load(draft, recipe, tokenizer)
        drafting.check_fits(draft, draft_model, model, settings["max_length"], proposals)
        check_weights(draft_model, weights)
        drafted_by = f"{type(draft_model).__name__}, {draft_model.count_params():,} parameters"
        if weights != "float32" or xla:
            draft_model.compact(weights)
    if weights != "float32":
        compact(model, weights, experiment, tokenizer, directory, calibration_batches)
    elif xla:
        model.compact(weights)
    name = name or os.path.basename(os.path.abspath(model_dir))
    if chat_template is not None:
        settings["chat_template"] = chat_template
    facts = {
        "name": name,
        "family": type(model).__name__,
        "steps": steps,
        "parameters": parameters,
        "weights": weights,
        "max_length": settings["max_length"],
        "layout": settings["layout"].replace("_", " "),
        "tokenizer": experiment.tokenizer,
        "vocabulary_size": model.vocabulary_size,
        "trained_on": type(experiment.task.source).__name__,
        "precision": experiment.precision,
        "draft": drafted_by,
        "licence": licence,
        "folder": directory.export,
    }
    export_model(
        model,
        tokenizer,
        directory.export,
        **settings,
        xla=xla,
        name=name,
        draft=draft_model,
        proposals=proposals,
        finish=lambda folder: model_card.write(folder, facts, directory.metrics),
    )
    print(f"exported {name_of(steps)} to {directory.export}")
    return directory.export


def check_weights(model, weights):
    """Raises UserError for a model whose layers cannot keep their weights so."""
    if weights not in model.weight_kinds:
        raise UserError(
            f"export.weights = {weights!r}: a {type(model).__name__} can be exported with "
            f"{' or '.join(map(repr, model.weight_kinds))} alone"
        )


def compact(model, weights, experiment, tokenizer, directory, calibration_batches=0):
    """Makes a model's weights of this kind, and prints what it does to the perplexity."""
    calibration = ()
    if calibration_batches:
        plan = experiment.make_plan("train", model, tokenizer, directory)
        calibration = [plan.batch(step) for step in range(calibration_batches)]

    def perplexity():
        plan = experiment.make_plan("validation", model, tokenizer, directory)
        return Evaluation(model, plan, tf.distribute.get_strategy(), xla=False).run()["perplexity"]

    try:
        before = perplexity()
    except (UserError, OSError) as error:
        model.compact(weights, calibration)
        print(f"weights are {weights}; what it does to the perplexity was not measured: {error}")
        return
    model.compact(weights, calibration)
    after = perplexity()
    change = 100 * (after / before - 1)
    print(
        f"weights are {weights}: perplexity {after:,.5g} on the validation split, "
        f"{before:,.5g} in float32 ({change:+.3f} %)"
    )


def text_settings(experiment, model):
    """What `TextModel` takes beside model and tokenizer, of an experiment."""
    task = experiment.task.for_model(model.reads_source)
    prefix, suffix = task.prompt_affixes()
    lengths = [experiment.sequence_length]
    if model.reads_source:
        lengths.append(experiment.longest_source)
    return {
        "layout": task.layout,
        "max_length": experiment.max_length or max(lengths),
        "prefix": prefix,
        "suffix": suffix,
        "labels": task.labels,
        "chat_template": task.chat_template,
    }


def export_model(model, tokenizer, folder, layout, max_length, finish=None, **settings):
    """Saves a model with its tokenizer, tries what was saved, and only then puts it in place.

    Args:
      model: a zoo.LanguageModel.
      tokenizer: of trainers/data/tokenizers.py.
      folder: where the SavedModel goes; an earlier export there is replaced.
      layout, max_length, **settings: see `TextModel`.
      finish: function of the folder of the SavedModel, called before it is put in place.

    Returns:
      `folder`.

    Raises:
      ValueError: settings that do not fit together.
      ExportError: what was saved differs from the model; `folder` is as it was.
    """
    text_model = TextModel(model, tokenizer, layout, max_length, **settings)
    parent, name = os.path.split(os.path.abspath(folder))
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=parent) as scratch:
        saved = os.path.join(scratch, "new")
        save(text_model, saved)
        with filtered_stderr():
            check(tf.saved_model.load(saved), text_model, model, tokenizer)
        if finish:
            finish(saved)
        if os.path.exists(folder):
            os.rename(folder, os.path.join(scratch, "old"))
        os.rename(saved, folder)
    return folder


class ExportError(RuntimeError):
    """A SavedModel does not do what the model it was made from does."""


def save(text_model, folder):
    names = ("complete", "beam_search", "score", "start", "next", "join", "end")
    names += ("tokenize", "detokenize", "describe")
    signatures = {name: getattr(text_model, name) for name in names}
    signatures["serving_default"] = text_model.generate
    tf.saved_model.save(text_model, folder, signatures=signatures, options=NO_GRADIENTS)


def check(loaded, text_model, model, tokenizer):
    """Raises ExportError where a loaded export differs from the Keras model and the tokenizer.

    The tokens it generates must be those that the model, fed all of them at once
    and tokenized outside the graph, finds likeliest, with the same log-probabilities.
    """
    tolerance = 0.03 if model.compute_dtype == "float32" else 0.5
    for probe in PROBES:
        text = text_model.prompts.prefix + probe + text_model.prompts.suffix
        ids = np.asarray(tokenizer.encode(text))
        if not np.array_equal(loaded.tokenize(tf.constant([text]))["tokens"][0], ids):
            raise ExportError(f"the exported tokenizer reads {text!r} otherwise than the tokenizer")
        generated = loaded.generate(tf.constant([probe]), max_new_tokens=PROBE_TOKENS)
        tokens = generated["tokens"][0, 0].numpy()
        logits = teacher_forced_logits(text_model, model, ids, tokens)
        chosen = logits[np.arange(len(tokens)), tokens]
        sums = np.logaddexp.reduce(logits, axis=-1)
        error = abs(np.sum(chosen - sums) - generated["log_probabilities"][0, 0].numpy())
        if not (np.all(logits.max(-1) - chosen <= tolerance) and error <= tolerance * len(tokens)):
            raise ExportError(f"the exported model continues {text!r} otherwise than the model")


def teacher_forced_logits(text_model, model, ids, tokens):
    """The model's logits [T, V] for each of `tokens` [T] in its turn after a prompt's `ids`."""
    max_length = text_model.max_length
    features = {}
    if model.reads_source:
        features["source"] = np.append(ids, EOS)[None, -max_length:].astype("int32")
        # An answer begins with what the tokenizer makes of no text.
        prompt = [EOS, *text_model.tokenizer.tokenize(tf.constant([""])).flat_values.numpy()]
    else:
        separator = [EOS] if text_model.layout == "text_to_text" else []
        reserved = min(PROBE_TOKENS, (max_length + 1) // 2)
        begin = [EOS] if text_model.prompts.begins or separator or not len(ids) else []
        prompt = [*begin, *ids, *separator][-(max_length + 1 - reserved) :]
    features["inputs"] = np.array([[*prompt, *tokens[:-1]]], "int32")
    with warnings.catch_warnings():
        # Keras takes the attention of a single token to itself for a mistake.
        warnings.filterwarnings("ignore", "You are using a softmax over axis")
        logits = np.asarray(model(features), "float64")[0]
    return logits[-len(tokens) :]
