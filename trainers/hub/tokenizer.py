"""Tokenizers of KerasHub's presets, where they are byte-level BPE."""

import json
import os

from trainers.data.pretrained_bpe import PretrainedBpeTokenizer
from trainers.errors import UserError
from trainers.hugging_face.tokenizer import added_token, ids_of, swapped

FILE, ASSETS = "tokenizer.json", os.path.join("assets", "tokenizer")
# What ends a text, and what it begins with, which files of presets do not say.
SPECIAL = {
    "GPT2Tokenizer": ("<|endoftext|>", "<|endoftext|>"),
    "OPTTokenizer": ("</s>", "</s>"),
    "FalconTokenizer": ("<|endoftext|>", "<|endoftext|>"),
    "BloomTokenizer": ("</s>", "<s>"),
}


def load(path, vocabulary_size):
    """The tokenizer of a preset's folder.

    Args:
      path: of the folder.
      vocabulary_size: of the model.

    Raises:
      UserError: it has none, or one that is not read here.
    """
    description, (end, _) = described(path)
    try:
        return PretrainedBpeTokenizer(description, end, vocabulary_size)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def begin_token(path):
    """Our id of the token that a text begins with, 0 where it is the end's."""
    description, (end, begin) = described(path)
    ids = ids_of(description)
    return swapped(ids[begin], ids[end])


def eos_id(path):
    """The preset's id of the token that ends texts."""
    description, (end, _) = described(path)
    return ids_of(description)[end]


def described(path):
    """(what would stand in a tokenizer.json of Transformers, the texts of `SPECIAL`).

    Every one of these is cut by GPT-2's pattern, as KerasHub cuts.
    """
    kind = os.path.join(path, FILE)
    if not os.path.isfile(kind):
        raise UserError(f"{path}: has no {FILE}; save it with its tokenizer, by the CausalLM")
    with open(kind, encoding="utf-8") as file:
        name = json.load(file)["class_name"]
    if name not in SPECIAL:
        raise UserError(
            f"{path}: its tokenizer is a {name}; of presets of KerasHub are read "
            f"{', '.join(SPECIAL)}; begin from that model as Transformers have it"
        )
    try:
        with open(os.path.join(path, ASSETS, "vocabulary.json"), encoding="utf-8") as file:
            vocabulary = json.load(file)
        with open(os.path.join(path, ASSETS, "merges.txt"), encoding="utf-8") as file:
            merges = [
                line for line in file.read().split("\n") if line and not line.startswith("#version")
            ]
    except OSError as error:
        raise UserError(f"{path}: the tokenizer is not complete ({error})") from None
    special = SPECIAL[name]
    for text in special:
        if text not in vocabulary:
            raise UserError(f"{path}: the vocabulary of the tokenizer has no {text!r}")
    description = {
        "added_tokens": [added_token(text, vocabulary[text]) for text in dict.fromkeys(special)],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "post_processor": None,
        "decoder": None,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }
    return description, special
