"""A folder in the format of Hugging Face Transformers: config.json and weights as safetensors.

Reading takes no network and no pickle; a weight is read when it is asked for.
"""

import contextlib
import json
import os

import numpy as np

from trainers.errors import UserError

TEMPLATE, TOKENIZER_CONFIG = "chat_template.jinja", "tokenizer_config.json"
CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", "model.safetensors"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
CONVERT = (
    "python -c \"from transformers import AutoModel; m = AutoModel.from_pretrained('{0}'); "
    "m.save_pretrained('{0}', safe_serialization=True)\""
)


class Checkpoint:
    """Weights of Transformers by their names.

    Attributes:
      path: of the folder that they are of.
      config: what is in config.json, a dict.
      weights: {name: array}.
      unread: the names of those that nothing has asked for.
    """

    def __init__(self, path, config, weights):
        self.path, self.config, self.weights = path, config, weights
        self.unread = set(weights)

    def __contains__(self, name):
        return name in self.weights

    def load(self, name):
        return self.weights[name]

    def read(self, name, shape=None):
        """A weight as an array of its stored dtype.

        Args:
          name: of the weight.
          shape: what it must have; None for any.

        Raises:
          UserError: there is none, or it has another shape.
        """
        if name not in self:
            raise UserError(f"{self.path}: has no weight {name!r}; the checkpoint is not complete")
        self.unread.discard(name)
        array = self.load(name)
        if shape is not None and tuple(array.shape) != tuple(shape):
            raise UserError(
                f"{self.path}: the weight {name!r} is {list(array.shape)}, and by {CONFIG} it must "
                f"be {list(shape)}"
            )
        return array


class Folder(Checkpoint):
    """A checkpoint that lies in a folder; `weights` are {name: path of its file}.

    Raises:
      UserError: no such folder, no config.json, no safetensors, shards that are missing or cut off.
    """

    def __init__(self, path):
        super().__init__(path, read_config(path), find_weights(path))

    def load(self, name):
        with opened(self.weights[name]) as file:
            return file.get_tensor(name)


def is_checkpoint(path):
    """Whether a path is a folder in this format."""
    return os.path.isfile(os.path.join(path, CONFIG))


def read_json(path):
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise UserError(f"{path}: is not JSON ({error})") from None


@contextlib.contextmanager
def complete(name):
    """Raises UserError for a file, of this name, that is asked for what it lacks."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"{name} says no {error}") from None


def read_config(path):
    if not os.path.isdir(path):
        raise UserError(f"{path}: there is no such folder")
    file = os.path.join(path, CONFIG)
    if not os.path.isfile(file):
        raise UserError(f"{path}: has no {CONFIG}: it is no model of Hugging Face, or not complete")
    config = read_json(file)
    if not isinstance(config, dict) or "model_type" not in config:
        raise UserError(f"{file}: names no model_type")
    return config


def chat_template(path):
    """The template of a folder, a model_dir's as well; "" where it has none."""
    file = os.path.join(path, TEMPLATE)
    if os.path.isfile(file):
        with open(file, encoding="utf-8", newline="") as text:
            return text.read()
    given = (read_json(os.path.join(path, TOKENIZER_CONFIG)) or {}).get("chat_template")
    if isinstance(given, list):  # several, by name
        given = {each["name"]: each["template"] for each in given}.get("default")
    return given or ""


def find_weights(path):
    """{name: path of the file} of all weights."""
    index = os.path.join(path, INDEX)
    if os.path.isfile(index):
        with complete(index):
            shards = read_json(index)["weight_map"]
        missing = sorted({s for s in shards.values() if not os.path.isfile(os.path.join(path, s))})
        if missing:
            raise UserError(
                f"{path}: lacks {len(missing)} of the {len(set(shards.values()))} files that "
                f"{INDEX} lists, {missing[0]} the first; download the rest"
            )
        names = sorted(set(shards.values()))
    elif os.path.isfile(os.path.join(path, WEIGHTS)):
        names = [WEIGHTS]
    else:
        raise UserError(f"{path}: {lacking(path)}")
    found = {}
    for name in names:
        file = os.path.join(path, name)
        with opened(file) as weights:
            found |= dict.fromkeys(weights.keys(), file)
    return found


def lacking(path):
    """What to say of a folder without safetensors."""
    partial = [n for n in os.listdir(path) if n.endswith((".incomplete", ".part", ".aria2"))]
    if partial:
        return f"is downloaded in part, {partial[0]} lies there; go on with the download"
    if any(os.path.exists(os.path.join(path, name)) for name in PICKLES):
        return (
            f"has its weights as pickle, which may run any program and is not read; convert it "
            f"where you trust it: {CONVERT.format(path)}"
        )
    return f"has no {WEIGHTS}"


@contextlib.contextmanager
def opened(path):
    """A file of safetensors, its weights as arrays."""
    import ml_dtypes  # noqa: F401, which makes bfloat16 known to numpy
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            yield file
    except SafetensorError as error:
        raise UserError(f"{path}: is damaged or downloaded in part ({error})") from None


def write(path, config, weights, most_bytes=5_000_000_000):
    """Writes a folder that Transformers loads.

    Args:
      path: of the folder, made where there is none.
      config: dict.
      weights: {name: array}; written in files of at most `most_bytes`, but for a larger weight.
    """
    from safetensors.numpy import save_file

    os.makedirs(path, exist_ok=True)
    shards, size = [{}], 0
    for name, array in weights.items():
        if shards[-1] and size + array.nbytes > most_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = np.ascontiguousarray(array)
        size += array.nbytes
    names = [WEIGHTS]
    if len(shards) > 1:
        count = len(shards)
        names = [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
        total = sum(array.nbytes for array in weights.values())
        places = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        put_json(
            os.path.join(path, INDEX), {"metadata": {"total_size": total}, "weight_map": places}
        )
    for name, shard in zip(names, shards, strict=True):
        file = os.path.join(path, name)
        save_file(shard, f"{file}.new", metadata={"format": "pt"})
        os.replace(f"{file}.new", file)
    put_json(os.path.join(path, CONFIG), config)


def put_json(path, value):
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
    os.replace(f"{path}.new", path)
