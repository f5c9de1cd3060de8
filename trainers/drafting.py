"""The draft of an export: the trained model of another model_dir, and whether it fits."""

import os

from trainers import config, registry
from trainers.annotations import quoted
from trainers.errors import UserError
from trainers.experiment import Experiment
from trainers.model_dir import ModelDir
from zoo.decoding import speculative


def check(model_dir):
    """The configuration of a draft's model_dir, a settings.Settings.

    Raises:
      UserError: there is none, or something is wrong with it.
    """
    if not os.path.exists(os.path.join(model_dir, config.NAME)):
        raise UserError(
            f"export.draft = {quoted(model_dir)}: there is no {config.NAME} in it; "
            "give the --model_dir of a smaller model, trained with the same tokenizer"
        )
    return config.check([], [], model_dir)


def load(model_dir, checked, tokenizer):
    """The trained model of a draft's model_dir.

    Args:
      model_dir: path.
      checked: from `check`.
      tokenizer: of the model that it is to draft for.

    Raises:
      UserError: nothing has been trained there, or with another tokenizer.
    """
    registry.register()
    with config.in_place(checked):
        draft, own, _ = Experiment().load(ModelDir(model_dir))
    if own.fingerprint != tokenizer.fingerprint:
        raise UserError(
            f"export.draft = {quoted(model_dir)}: it has another tokenizer; train it with that "
            "of the model, as --gin_param='TOKENIZER = \"runs/mine/tokenizer\"'"
        )
    return draft


def check_fits(model_dir, draft, model, max_length, proposals):
    """Raises UserError where a draft cannot draft for a model."""
    try:
        speculative.check(model, draft, proposals)
    except ValueError as error:
        raise UserError(f"export.draft = {quoted(model_dir)}: {error}") from error
    if draft.context_length and max_length > draft.context_length:
        raise UserError(
            f"export.draft = {quoted(model_dir)}: it has only {draft.context_length} positions, "
            f"and the export reads {max_length}; train a draft with "
            f"{type(draft).__name__}.context_length = {max_length}, or export with "
            f"--gin_param='Experiment.max_length = {draft.context_length}'"
        )
