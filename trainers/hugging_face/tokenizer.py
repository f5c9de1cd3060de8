"""Tokenizers of checkpoints of Transformers."""

import copy
import json
import os

from trainers.chat import EOS_TEXT
from trainers.data.byte_pair import BytePairTokenizer
from trainers.data.pretrained_bpe import PretrainedBpeTokenizer
from trainers.data.simple_tokenizers import BytesTokenizer
from trainers.data.special_tokens import with_special_tokens
from trainers.data.tokenizer_base import EOS
from trainers.errors import UserError
from trainers.hugging_face.folder import TOKENIZER_CONFIG, read_config, read_json

FILE = "tokenizer.json"


def load(path):
    """The tokenizer of a folder.

    Raises:
      UserError: it has none that can be read; or one for fewer ids than the model has.
    """
    config = read_config(path)
    description = read_json(os.path.join(path, FILE))
    if description is None:
        raise UserError(f"{path}: has no {FILE}, the tokenizer")
    try:
        return PretrainedBpeTokenizer(
            description,
            eos_text(config, description),
            config["vocab_size"],
            begin_text(description) is not None,
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def begin_token(path, config):
    """Our id of the token that a text begins with, 0 where it is the end's or there is none.

    Of an encoder-decoder it is the target that begins so.
    """
    eos = eos_id(config)
    if config.get("is_encoder_decoder"):
        begin = config.get("decoder_start_token_id")
        return swapped(config.get("pad_token_id", eos) if begin is None else begin, eos)
    description = read_json(os.path.join(path, FILE))
    begin = description and begin_text(description)
    if not begin:
        return 0
    return swapped(ids_of(description)[begin], eos)


def swapped(token, eos):
    """An id there as it is here, and the other way round: the end's and 0 change places."""
    return {eos: EOS, EOS: eos}.get(token, token)


def begin_text(description):
    """The special token that the tokenizer puts before a text, or None."""
    steps = [description.get("post_processor") or {}]
    for step in steps:
        steps += step.get("processors", ())
        if step.get("type") == "TemplateProcessing":
            first = (step.get("single") or [{}])[0]
            if "SpecialToken" in first:
                return first["SpecialToken"]["id"]
    return None


def eos_id(config):
    """The id of a checkpoint's end of a text; of several the first."""
    eos = config.get("eos_token_id")
    eos = eos[0] if isinstance(eos, list) else eos
    if eos is None:
        raise UserError("config.json names no eos_token_id, the token that ends texts")
    return eos


def eos_text(config, description):
    eos = eos_id(config)
    for text, i in ids_of(description).items():
        if i == eos:
            return text
    raise UserError(f"{FILE} has no token {eos}, the eos_token_id of config.json")


def ids_of(description):
    added = {token["content"]: token["id"] for token in description.get("added_tokens", ())}
    return {**description["model"]["vocab"], **added}


def write(tokenizer, path):
    """Writes a tokenizer for Transformers, where it is one of bytes or of byte-pair encoding.

    Returns:
      whether it is written.
    """
    described = description_of(tokenizer)
    if described is None:
        return False
    description, eos = described
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eos}
    for name, value in ((FILE, description), (TOKENIZER_CONFIG, settings)):
        with open(os.path.join(path, name), "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=2)
    return True


def description_of(tokenizer):
    """(what is to be in tokenizer.json, the text of its end), or None."""
    inner = tokenizer.plain
    if isinstance(inner, PretrainedBpeTokenizer):
        description, eos = copy.deepcopy(inner.description), inner.eos
    elif isinstance(inner, BytePairTokenizer | BytesTokenizer):
        description, eos = description_of_ours(inner), EOS_TEXT
    else:
        return None
    known = {token["content"] for token in description["added_tokens"]}
    description["added_tokens"] += [
        added_token(text, i)
        for text, i in sorted(getattr(tokenizer, "ids", {}).items(), key=lambda pair: pair[1])
        if inner is not tokenizer and i and text not in known
    ]
    return description, eos


def description_of_ours(tokenizer):
    """The same of one that was learned here: every text begins with <eos>, as in training."""
    merges = getattr(tokenizer, "merges", ())
    description = json.loads(BytePairTokenizer(merges).backend.to_str())
    # An added token that the vocabulary has not would get another id than it says.
    description["model"]["vocab"] |= {EOS_TEXT: EOS}
    begin = {"id": EOS_TEXT, "ids": [EOS], "tokens": [EOS_TEXT]}
    return {
        **description,
        "added_tokens": [added_token(EOS_TEXT, EOS)],
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": EOS_TEXT, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"],
            "special_tokens": {EOS_TEXT: begin},
        },
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": False,
            "use_regex": False,
        },
    }


def added_token(text, i):
    plain = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    return {"id": int(i), "content": text, **plain, "special": True}


def with_tokens_of(tokenizer, template):
    """A tokenizer that makes tokens of the special texts which a chat template writes."""
    return with_special_tokens(tokenizer, [t for t in tokenizer.special_ids if t in template])
