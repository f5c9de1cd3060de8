"""KerasHub's presets of models that write text, read from its source: TensorFlow is not imported."""

import ast
import glob
import importlib.util
import os
import re

from choosing.families import family_of
from choosing.model import HUB, NATIVE, NO, Model
from trainers.errors import UserError
from trainers.hub.families import FAMILIES as OF_KERASHUB
from trainers.hub.tokenizer import KINDS as TOKENIZERS
from trainers.hugging_face.families import FAMILIES

# By KerasHub's own words these read pictures or sounds, make vectors, judge or draft: no text for text.
OTHERS = re.compile(
    r"vision|image|audio|video|multimodal|multi-modal|embedding model|embedding-focused|"
    r"text embedding|shieldgemma|safety|assistant model|single-cell",
    re.IGNORECASE,
)
SEEING = (
    "blip2",
    "gemma3n",
    "gemma4",
    "pali_gemma",
    "parseq",
    "qwen3_5",
    "qwen3_5_moe",
    "t5gemma2",
)
CHAT = re.compile(r"instruct|vicuna|bloomz|flan|_it\b|_it$|chat model", re.IGNORECASE)
SPECIAL = re.compile(r"code|math|med|function", re.IGNORECASE)
# Folders of KerasHub's models, without "_", whose presets are read; others are as Transformers have
# them.
PRESETS = {name.removesuffix("Tokenizer").lower() for name in TOKENIZERS}


def models():
    """A Model of each preset.

    Raises:
      UserError: KerasHub is not installed, or keeps its presets otherwise.
    """
    found = [
        model_of(name, preset, os.path.basename(folder), reads_source)
        for folder, reads_source in folders()
        for name, preset in presets_in(folder)
        if is_text(name, preset)
    ]
    if not found:
        raise UserError("keras-hub has no presets where they are looked for; another version?")
    return found


def folders():
    """(folder, whether its model has an encoder) of each architecture that writes text."""
    spec = importlib.util.find_spec("keras_hub")
    if spec is None:
        raise UserError(
            "keras-hub, whose presets are read, is not installed: pip install keras-hub"
        )
    home = os.path.join(os.path.dirname(spec.origin), "src", "models")
    for ending, reads_source in (("_causal_lm.py", False), ("_seq_2_seq_lm.py", True)):
        for path in sorted(glob.glob(os.path.join(home, "*", f"*{ending}"))):
            folder = os.path.dirname(path)
            name = os.path.basename(folder)
            if os.path.basename(path) == name + ending and name not in SEEING:
                yield folder, reads_source


def presets_in(folder):
    """(name, description of a preset as a dict) of an architecture's folder."""
    for path in glob.glob(os.path.join(folder, "*_presets.py")):
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
                yield from ast.literal_eval(node.value).items()


def is_text(name, preset):
    said = f"{name} {preset['metadata'].get('description', '')}"
    # Quantised weights of KerasHub load in KerasHub alone, and guards answer with a verdict.
    return not OTHERS.search(said) and not re.search(r"_int8|guard|embed", name)


def model_of(name, preset, folder, reads_source):
    metadata, family = preset["metadata"], family_of(name)
    reads = folder.replace("_", "") in PRESETS
    loads = loading(family.model_type, reads)
    said = f"{name} {metadata['description']}"
    return Model(
        name=name,
        about=" ".join(metadata["description"].split()),
        parameters=metadata["params"],
        active=family.active,
        context=family.context,
        licence=family.licence,
        languages=None if family.languages is None else tuple(family.languages.split()),
        loads=loads,
        # A preset of a decoder is a PretrainedLM, and slower where the zoo has it.
        by_preset=reads and (reads_source or loads != NATIVE),
        reads_source=reads_source,
        chats=bool(CHAT.search(said)) or folder == "gpt_oss",
        codes="code" in name,
        special=bool(SPECIAL.search(name)),
        summarises="_cnn" in name,
        translates=bool(re.match("t5_[a-z]+_multi|flan", name)),
    )


def loading(model_type, reads_preset):
    if model_type in FAMILIES:
        return NATIVE
    return HUB if reads_preset or model_type in OF_KERASHUB else NO
