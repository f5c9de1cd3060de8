"""Presets of KerasHub, and the checkpoints of Transformers that PretrainedLM is made of."""

import json
import os

import numpy as np

from trainers import startup
from trainers.errors import UserError
from trainers.hub import encoder_decoders, tokenizer
from trainers.hub.families import FAMILIES, num_experts
from trainers.hugging_face import folder as folders
from trainers.hugging_face import tokenizer as their_tokenizer
from trainers.hugging_face.weights import reordered
from trainers.settings import did_you_mean

SCHEMES = ("hf://", "kaggle://")
# Weights as pickle, and those of other libraries, are not asked for.
WANTED = ("*.json", "*.txt", "*.jinja", "*.h5", "*.safetensors", "*.spm", "*.model")
OWN = ("name", "trainable", "dtype")  # of a backbone's settings, not ours


def find(name):
    """The folder that a name means, downloaded where it is none on this machine.

    Args:
      name: path; "hf://owner/name"; "kaggle://owner/model/keras/variant"; a preset of KerasHub.

    Raises:
      UserError: it cannot be downloaded, or KerasHub has no such preset.
    """
    path = os.path.expanduser(name)
    if os.path.exists(path) or (os.sep in name and not name.startswith(SCHEMES)):
        return path
    handle = name if name.startswith(SCHEMES) else handle_of(name)
    scheme, where = handle.split("://")
    try:
        if scheme == "hf":
            import huggingface_hub

            return huggingface_hub.snapshot_download(where, allow_patterns=list(WANTED))
        import kagglehub

        return kagglehub.model_download(where)
    except Exception as error:  # of the network, of a licence, of a name: libraries raise many
        problem = " ".join(str(error).split())
        raise UserError(
            f"cannot be downloaded from {handle}: {problem[:200]}; download it where there is a "
            "network and a licence, and give its folder"
        ) from error


def handle_of(name):
    """Where KerasHub's preset of a name lies."""
    startup.import_tensorflow()
    import keras_hub

    from zoo.pretrained_lm import BACKBONES

    known = {}
    backbones = (*BACKBONES, *encoder_decoders.BACKBONES)
    for backbone in backbones:
        known |= getattr(keras_hub.models, f"{backbone}Backbone").presets
    if name not in known:
        raise UserError(
            "is neither a folder nor one of KerasHub's presets of "
            f"{', '.join(backbones)}{did_you_mean(name, known)}"
        )
    return known[name]["kaggle_handle"]


def is_preset(path):
    """Whether a folder is one that KerasHub's `save_to_preset` writes."""
    return "registered_name" in read_json(os.path.join(path, folders.CONFIG))


def is_pretrained_lm(path):
    """Whether a folder becomes a PretrainedLM: of the presets all but those of encoder-decoders."""
    if is_preset(path):
        return described(path)[0] not in encoder_decoders.BACKBONES
    return read_json(os.path.join(path, folders.CONFIG)).get("model_type") in FAMILIES


def described(path):
    """(the backbone of a preset, "GPT2" for GPT2Backbone; its settings)."""
    file = os.path.join(path, folders.CONFIG)
    config = read_json(file)
    with folders.complete(file):
        return config["registered_name"].rsplit(">")[-1].removesuffix("Backbone"), config["config"]


def read_json(path):
    """A dict, empty where there is no such file or it is something else."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def settings_of(path):
    """All arguments of PretrainedLM for a folder that becomes one, `vocabulary_size` among them.

    Raises:
      UserError: a model that reads more than text, or has settings that KerasHub's layers have not.
    """
    if not is_preset(path):
        config = folders.read_config(path)
        with folders.complete(os.path.join(path, folders.CONFIG)):
            backbone, settings = FAMILIES[config["model_type"]](config)
            size = config["vocab_size"]
        begin = their_tokenizer.begin_token(path, config)
    else:
        backbone, config = described(path)
        size = config.get("vocabulary_size")
        if size is None or any(
            isinstance(value, dict) for n, value in config.items() if n not in OWN
        ):
            raise UserError(f"{path}: a {backbone} is more than a decoder of text")
        settings = {
            name: value
            for name, value in config.items()
            if name not in (*OWN, "vocabulary_size") and "dropout" not in name
        }
        begin = tokenizer.begin_token(path)
    return {
        "vocabulary_size": size,
        "backbone": backbone,
        "settings": settings,
        "begin_token": int(begin),
    }


def load_tokenizer(path):
    """The tokenizer of a preset."""
    with folders.complete(os.path.join(path, folders.CONFIG)):
        size = described(path)[1]["vocabulary_size"]
    return tokenizer.load(path, size)


def config_of(path):
    """What a config.json of Transformers says, or would say of a preset of an encoder-decoder."""
    if not is_preset(path):
        return folders.read_config(path)
    return encoder_decoders.config_of(path, *described(path))


def checkpoint_of(path):
    """The `Checkpoint` of such a folder."""
    if not is_preset(path):
        return folders.Folder(path)
    import keras_hub  # which takes seconds

    name, settings = described(path)
    settings = {key: value for key, value in settings.items() if key not in OWN}
    backbone = getattr(keras_hub.models, f"{name}Backbone")(**settings)
    read_preset(backbone, path)
    return encoder_decoders.checkpoint_of(path, backbone, config_of(path))


def read_weights(model, path, new_tokens=0):
    """Gives a PretrainedLM the weights of a folder of its architecture.

    Args:
      model: of the zoo.
      path: of the folder.
      new_tokens: how many of the model's last tokens the folder may lack; see
        `train_state.extended`.

    Raises:
      UserError: it is of another architecture, or lacks weights.
    """
    wanted, found = model.get_config(), settings_of(path)
    lacking = wanted["vocabulary_size"] - found["vocabulary_size"]
    if 0 < lacking <= new_tokens:
        whole = type(model)(**found)
        read_weights(whole, path)
        copy_weights(whole, model, lacking)
        return
    for name in ("backbone", "settings", "vocabulary_size"):
        if wanted[name] != found[name]:
            raise UserError(
                f"{path}: is another model than this PretrainedLM: its {name} is {found[name]}"
            )
    if is_preset(path):
        read_preset(model.backbone, path)
        eos = tokenizer.eos_id(path)
    else:
        read_checkpoint(model.backbone, path)
        eos = their_tokenizer.eos_id(folders.read_config(path))
    table = model.backbone.token_embedding
    table.embeddings.assign(reordered(np.asarray(table.embeddings), eos))
    if not table.tie_weights:
        columns = np.asarray(table.reverse_embeddings).T
        table.reverse_embeddings.assign(reordered(columns, eos).T)


def copy_weights(source, model, new_tokens):
    """Gives a PretrainedLM the weights of one that has so many tokens less."""
    from trainers.train_state import extended  # which needs Keras

    given = own_weights(source)
    for place, weight in own_weights(model).items():
        array = np.asarray(given[place])
        if array.shape != weight.shape:  # a table of tokens, of rows or of columns
            rows = array.shape[1:] == weight.shape[1:]
            array = extended(array, new_tokens) if rows else extended(array.T, new_tokens).T
        weight.assign(array)


def own_weights(model):
    """{(number of a layer, name): weight}, without low-rank updates; paths are not the same twice."""
    from trainers.adaptation import UPDATE

    return {
        (i, weight.name): weight
        for i, layer in enumerate(model._flatten_layers())
        for weight in (*layer._trainable_variables, *layer._non_trainable_variables)
        if UPDATE not in weight.name
    }


def read_preset(backbone, path):
    names = ("model.weights.h5", "model.weights.json")
    files = [file for name in names if os.path.isfile(file := os.path.join(path, name))]
    if not files:
        raise UserError(f"{path}: has no {names[0]}; the preset is not complete")
    from trainers.adaptation import UPDATE  # which needs Keras

    # Keras sets low-rank updates to 0 where a file has none, and what is 0 on both sides never
    # learns.
    updates = [(weight, np.array(weight)) for weight in backbone.weights if UPDATE in weight.path]
    try:
        backbone.load_weights(files[0])
    except (OSError, ValueError, KeyError) as error:
        problem, *_ = str(error).split("\n")
        raise UserError(f"{files[0]}: is damaged, or of another model ({problem})") from error
    for weight, value in updates:
        weight.assign(value)


def read_checkpoint(backbone, path):
    """By KerasHub's converters, which `from_preset` would give a second model in memory."""
    import ml_dtypes  # noqa: F401, which makes bfloat16 known to numpy
    from keras_hub.src.utils.preset_utils import get_preset_loader
    from keras_hub.src.utils.transformers.safetensor_utils import SafetensorLoader
    from safetensors import SafetensorError

    from trainers.adaptation import set_aside  # which needs Keras

    config = folders.Folder(path).config  # which looks whether all files are there
    if "num_experts_per_tok" in config:
        config["num_experts"] = num_experts(config)
    converter = get_preset_loader(path).converter
    try:
        with SafetensorLoader(path) as weights, set_aside(backbone):
            converter.convert_weights(backbone, weights, config)
    except (SafetensorError, KeyError, ValueError) as error:
        problem, *_ = str(error).split("\n")
        raise UserError(f"{path}: its weights are not those of config.json: {problem}") from error
