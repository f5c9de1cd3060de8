"""The architectures of Transformers that models of the zoo are, by their model_type.

A family has
  model                      the zoo's class, and `model_types`, their names
  settings(config)           its arguments, of a config.json; `config(settings)` the other way
  fits(settings)             raises UserError for a model that is none of the family
  weights(settings, prefix)  a `Weight` for each of the model's
  copies(settings)           names of weights that a checkpoint may have beside these
  prefix(folder)             what stands before a weight's name, which bare models leave out
"""

import os

from trainers.errors import UserError
from trainers.hub.families import FAMILIES as OF_KERASHUB
from trainers.hugging_face import folder, tokenizer
from trainers.hugging_face.decoders import GPT2, Llama
from trainers.hugging_face.encoder_decoders import T5, Bart

FAMILIES = {kind: family for family in (GPT2, Llama, T5, Bart) for kind in family.model_types}


def family_of(path, config):
    """The family of a config.json.

    Raises:
      UserError: it is none of those known.
    """
    kind = config["model_type"]
    if kind not in FAMILIES:
        raise UserError(
            f"{path}: the model_type {kind!r} is none of those known: "
            f"{', '.join([*FAMILIES, *OF_KERASHUB])}"
        )
    return FAMILIES[kind]


def family_for(model):
    """The family that a model of the zoo is of, perhaps."""
    settings = model.get_config()
    kind = type(model).__name__
    if kind == "DecoderLM":
        return GPT2 if settings["positions"] == "learned" else Llama
    if kind == "EncoderDecoder":
        return T5 if settings["positions"] == "relative" else Bart
    raise UserError(
        f"a {kind} is no model of Transformers; DecoderLM and EncoderDecoder can be one"
    )


def settings_of(path, config):
    """All arguments of the zoo's class for a checkpoint, `vocabulary_size` among them."""
    family = family_of(path, config)
    begin = tokenizer.begin_token(path, config)
    with folder.complete(os.path.join(path, folder.CONFIG)):
        return {**family.settings(config), "begin_token": int(begin)}
