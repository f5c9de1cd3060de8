"""Models of the zoo of checkpoints of Transformers and presets of KerasHub; and checkpoints of models."""

import keras
import numpy as np

import zoo
from trainers.adaptation import UPDATE
from trainers.errors import UserError
from trainers.hub import presets
from trainers.hugging_face import folder as folders
from trainers.hugging_face import tokenizer
from trainers.hugging_face.families import family_for, family_of, settings_of
from trainers.hugging_face.weights import reordered
from trainers.train_state import extended
from zoo.layers import initializers

# What checkpoints hold beside weights: masks and frequencies, which a model works out itself.
BUFFERS = (".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq")


def load_model(path):
    """The zoo model of a checkpoint or a preset, with its weights.

    Tokens have the checkpoint's ids, but for its end of a text: that is 0, and what was 0 has the
    id of the end.

    Args:
      path: of the folder.

    Raises:
      UserError: see `folder.Folder`; an unknown architecture; settings that the zoo has not.
    """
    if presets.is_pretrained_lm(path):
        try:
            model = zoo.PretrainedLM(**presets.settings_of(path))
        except ValueError as error:
            raise UserError(f"{path}: of its {folders.CONFIG}, {error}") from error
    else:
        config = presets.config_of(path)
        settings = settings_of(path, config)
        with initializers.skipped():
            model = getattr(zoo, family_of(path, config).model)(**settings)
    read_weights(model, path)
    return model


def read_weights(model, path, new_tokens=0):
    """Gives a model the weights of a checkpoint of its architecture.

    Args:
      model: of the zoo.
      path: of the folder.
      new_tokens: how many of the model's last tokens the checkpoint may lack; see
        `train_state.extended`.

    Raises:
      UserError: a weight is missing, has another shape, or has no place in the model.
    """
    if isinstance(model, zoo.PretrainedLM):
        presets.read_weights(model, path, new_tokens)
        return
    folder = presets.checkpoint_of(path)
    family = family_of(path, folder.config)
    settings = whole_settings(model)
    eos = tokenizer.eos_id(folder.config)
    lacking = model.vocabulary_size - folder.config["vocab_size"]
    lacking = lacking if 0 < lacking <= new_tokens else 0
    variables = {
        variable.path.removeprefix(f"{model.name}/"): variable
        for variable in model.weights
        if UPDATE not in variable.path
    }
    for weight in family.weights(settings, family.prefix(folder)):
        variable = variables.pop(weight.ours)
        shape = variable.shape
        if weight.tokens:
            shape = (shape[0] - lacking, *shape[1:])
        shapes = weight.their_shapes(shape)
        if weight.optional and weight.theirs[0] not in folder:
            arrays = [np.zeros(shape, "float32") for shape in shapes]
        else:
            arrays = [folder.read(n, s) for n, s in zip(weight.theirs, shapes, strict=True)]
        array = weight.join(arrays)
        variable.assign(extended(reordered(array, eos), lacking) if weight.tokens else array)
    left = folder.unread.difference(family.copies(settings))
    left = [name for name in left if not name.endswith(BUFFERS)]
    if variables or left:
        missing = (
            f"has no weight for {min(variables)}" if variables else f"{min(left)!r} has no place"
        )
        raise UserError(f"{path}: is another model than this {type(model).__name__}: {missing}")


def save_model(model, path, eos=0, **more):
    """Writes a model as a checkpoint of Transformers.

    Args:
      model: of the zoo, with the settings of an architecture in families.py.
      path: of the folder.
      eos: the id there of the token that is 0 here.
      **more: what config.json is to have beside the model's settings.

    Raises:
      UserError: a model that no architecture of Transformers is.
    """
    family, settings = family_for(model), whole_settings(model)
    family.fits(settings)
    begin = tokenizer.swapped(settings["begin_token"], eos)
    config = {**family.config(settings), "eos_token_id": int(eos), **begins(model, begin)}
    variables = {
        variable.path.removeprefix(f"{model.name}/"): variable for variable in model.weights
    }
    weights = {}
    for weight in family.weights(settings):
        array = keras.ops.convert_to_numpy(variables[weight.ours])
        array = reordered(array, eos) if weight.tokens else array
        weights |= zip(weight.theirs, weight.divide(array), strict=True)
    folders.write(path, {**config, "dtype": "float32", **more}, weights)


def begins(model, begin):
    """What config.json says of the token that a text, or a target, begins with."""
    if not model.reads_source:
        return {"bos_token_id": int(begin)}
    return {"decoder_start_token_id": int(begin), "pad_token_id": int(begin)}


def whole_settings(model):
    """All the settings of a model, with those left to it worked out."""
    settings = model.get_config()
    settings["head_width"] = model.head_width
    settings["hidden_width"] = settings["hidden_width"] or 4 * settings["width"]
    if model.reads_source:
        settings["num_encoder_layers"] = len(model.encoder)
        settings["final_norm"] = model.decoder_norm is not None
    else:
        settings["num_kv_heads"] = settings["num_kv_heads"] or settings["num_heads"]
    return settings
