"""Checkpoints of Transformers to model_dirs that are as if trained here, and back."""

import os
import shutil

import tensorflow as tf

from trainers import config, pretrained, registry, settings
from trainers.checkpoints import Checkpoints
from trainers.data import tokenizers
from trainers.errors import UserError
from trainers.experiment import Experiment
from trainers.hugging_face import folder, load, tokenizer
from trainers.model_dir import ModelDir
from trainers.train_state import by_path

# No data: whoever trains on has a recipe of their own. `INIT` says where to begin.
LANGUAGE_MODELLING = """
Experiment.task = @language_modelling()
language_modelling.source = @text_files()
text_files.train = []
Experiment.batch_size = 1
"""
RECIPES = {
    "DecoderLM": LANGUAGE_MODELLING,
    "PretrainedLM": LANGUAGE_MODELLING,
    "EncoderDecoder": """
Experiment.task = @text_to_text()
text_to_text.source = @jsonl_files()
jsonl_files.train = []
Experiment.batches = @packed
Experiment.batch_size = 1
""",
}
CONTEXT = 1024  # tokens of an export, where the model has more


def to_model_dir(path, model_dir):
    """Makes a model_dir of a checkpoint of Transformers: to evaluate, export and begin from.

    Args:
      path: of the checkpoint's folder.
      model_dir: of the run, which must not be there yet.

    Returns:
      the model.

    Raises:
      UserError: there is something at `model_dir`; what can be wrong with the checkpoint.
    """
    if os.path.exists(model_dir):
        raise UserError(f"{model_dir}: is there already; give another, or remove it")
    found = pretrained.of_checkpoint(path)
    recipe = settings.Settings(path)
    settings.read_text(recipe, RECIPES[found["", "Experiment", "model"].name])
    found["", "Experiment", "sequence_length"] = min(context_of(path), CONTEXT)
    template = folder.chat_template(path)
    if template:
        found["", "export", "chat_template"] = template
    for key, value in found.items():
        recipe.bindings[key] = settings.Setting(value, path)

    read = tokenizers.train_tokenizer(path, iter(()))
    if template:
        read = tokenizer.with_tokens_of(read, template)
    model = load.load_model(path)
    directory = ModelDir(f"{model_dir.rstrip('/')}.partial")
    shutil.rmtree(directory.path, ignore_errors=True)
    try:
        Checkpoints(directory.checkpoints).save(
            tf.train.Checkpoint(model=by_path(model.weights)), 0, metrics={}
        )
        read.save(directory.tokenizer)
        registry.register()
        config.load(recipe)
        config.save(directory.path)
        os.rename(directory.path, model_dir)
    finally:
        shutil.rmtree(directory.path, ignore_errors=True)
    return model


def from_model_dir(model_dir, path):
    """Writes the model of a model_dir as a checkpoint of Transformers, its tokenizer and chat template.

    Args:
      model_dir: of the run.
      path: of the folder, which must not be there yet.

    Returns:
      (the model, whether the tokenizer was written).

    Raises:
      UserError: there is something at `path`; nothing is trained; no architecture has such a model.
    """
    if os.path.exists(path):
        raise UserError(f"{path}: is there already; give another, or remove it")
    registry.register()
    checked = config.check([], [], model_dir)
    config.load(checked)
    experiment = Experiment()
    model, read, _ = experiment.load(ModelDir(model_dir))
    partial = f"{path.rstrip('/')}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        context = model.context_length or experiment.sequence_length
        load.save_model(
            model, partial, getattr(read.plain, "eos_id", 0), max_position_embeddings=context
        )
        written = tokenizer.write(read, partial)
        template = chat_template_of(checked, experiment.task)
        if template:
            begins = read.begins_texts and not model.reads_source
            tokenizer.write_template(template, partial, begins)
        os.rename(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return model, written


def chat_template_of(checked, task):
    """That of a model_dir's export, "" where it has none."""
    given = checked.bindings.get(("", "export", "chat_template"))
    template = checked.resolve(given.value) if given else None
    return task.chat_template if template is None else template


def context_of(path):
    """Tokens that a model has positions for, or `CONTEXT` where its folder does not say."""
    described = folder.read_json(os.path.join(path, folder.CONFIG))
    described = described.get("config", described)
    names = ("max_position_embeddings", "n_positions", "max_sequence_length")
    return next((described[name] for name in names if described.get(name)), CONTEXT)
