"""INIT: what a run begins from, a checkpoint of Transformers, a preset of KerasHub or another run.

`train.initial_checkpoint` reads the weights. The settings stand in the run's own config.gin: it needs what it began from no more.
"""

import os

from trainers import settings
from trainers.errors import UserError
from trainers.hub import presets
from trainers.hub.families import FAMILIES as OF_KERASHUB
from trainers.hugging_face import folder
from trainers.hugging_face.families import FAMILIES, family_of, settings_of

MACRO = "INIT"
FREE = ("dropout", "rematerialise")  # what a model may have otherwise than what it begins from


def add(config):
    """Puts the model of INIT into a configuration, in place of the one that its files name.

    Args:
      config: settings.Settings; one whose INIT is None or not there stays as it is.

    Raises:
      UserError: there is no model at INIT.
    """
    given = config.macros.get(MACRO)
    path = given and config.resolve(given.value)
    if not isinstance(path, str):
        return
    try:
        path = presets.find(path)
        found = of_checkpoint(path) if folder.is_checkpoint(path) else of_run(path)
    except UserError as error:
        raise UserError(f"{given.where}: {MACRO} = {path!r}: {error}") from None
    config.macros[MACRO] = settings.Setting(path, given.where)
    model = found["", "Experiment", "model"]
    for key in [key for key in config.bindings if key[1] == model.name]:
        free = any(word in key[2] for word in FREE)
        if not free and config.bindings[key].where != settings.PARAM:
            del config.bindings[key]
    for key, value in found.items():
        known = config.bindings.get(key)
        if known is None or known.where != settings.PARAM:
            config.bindings[key] = settings.Setting(value, given.where)


def of_checkpoint(path):
    """{(scope, configurable, parameter): value} of a checkpoint of Transformers, or of a preset."""
    if presets.is_pretrained_lm(path):
        model, values = "PretrainedLM", presets.settings_of(path)
    else:
        config = presets.config_of(path)
        model, values = family_of(path, config).model, settings_of(path, config)
    del values["vocabulary_size"]  # of the tokenizer
    return {
        ("", "Experiment", "model"): settings.Reference(model),
        ("", "Experiment", "tokenizer"): path,
        **{("", model, name): value for name, value in values.items()},
    }


def of_run(path):
    """The same of a model_dir."""
    file = os.path.join(path, "config.gin")
    if not os.path.isfile(file):
        raise UserError(
            "is neither a model_dir, with a config.gin, nor a checkpoint of Transformers or preset "
            "of KerasHub, with a config.json; of checkpoints are known: "
            f"{', '.join([*FAMILIES, *OF_KERASHUB])}"
        )
    config = settings.read([file])
    model = config.resolve(config.bindings["", "Experiment", "model"].value)
    return {
        ("", "Experiment", "model"): model,
        ("", "Experiment", "tokenizer"): os.path.join(path, "tokenizer"),
        **{
            key: config.resolve(setting.value)
            for key, setting in config.bindings.items()
            if key[1] == model.name and not any(word in key[2] for word in FREE)
        },
    }
