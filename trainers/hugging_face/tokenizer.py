"""Tokenizers of checkpoints of Transformers."""

import copy
import json
import os

from trainers.chat import EOS_TEXT
from trainers.data.byte_pair import BytePairTokenizer
from trainers.data.marian import SOURCE, TARGET, UNKNOWN, MarianTokenizer
from trainers.data.pretrained_bpe import PretrainedBpeTokenizer
from trainers.data.pretrained_sentence_piece import PretrainedSentencePieceTokenizer
from trainers.data.sentence_piece_model import SentencePieceModel, is_sentence_piece, rebuilt
from trainers.data.simple_tokenizers import BytesTokenizer
from trainers.data.special_tokens import with_special_tokens
from trainers.data.tokenizer_base import EOS
from trainers.errors import UserError
from trainers.hugging_face.folder import (
    CONFIG,
    TEMPLATE,
    TOKENIZER_CONFIG,
    complete,
    put_json,
    read_config,
    read_json,
)

FILE = "tokenizer.json"
VOCABULARY = "vocab.json"  # Marian's
MODELS = ("tokenizer.model", "spiece.model")  # of SentencePiece, with the ids of the checkpoint
RENUMBERED = ("pegasus",)
T5_EXTRA_IDS = 100


def load(path):
    """The tokenizer of a folder: of tokenizer.json, else of its SentencePiece model.

    Raises:
      UserError: it has none that can be read; or one for more ids than the model has.
    """
    config = read_config(path)
    if "vocab_size" not in config:
        raise UserError(f"{os.path.join(path, CONFIG)} says no 'vocab_size'")
    description = read_json(os.path.join(path, FILE))
    begin = begin_id(path, config)
    begins = begin is not None
    try:
        if description is None and os.path.isfile(os.path.join(path, SOURCE)):
            return of_marian(path, config)
        if description is None:
            return of_model(path, config, begins)
        with complete(FILE):
            if is_sentence_piece(description):
                return of_description(description, config, begins)
            eos = text_of(ids_of(description), eos_id(config))
            # BART's encoder and decoder read a token before every text; decoders alone have begin_token.
            prefix = begin if config.get("is_encoder_decoder") else None
            return PretrainedBpeTokenizer(description, eos, config["vocab_size"], begins, prefix)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def of_description(description, config, begins):
    """The SentencePiece of a tokenizer.json."""
    ids, added = ids_of(description), description.get("added_tokens", ())
    text_of(ids, eos_id(config))  # there must be one
    model, reading = rebuilt(description)
    return PretrainedSentencePieceTokenizer(
        model,
        eos_id(config),
        {token["content"]: token["id"] for token in added if token["special"]},
        rows(config["vocab_size"], max(ids.values()) + 1),
        None if reading.collapses else reading.leading_space,
        reading.doubles,
        begins,
        description,
    )


def of_model(path, config, begins):
    """The SentencePiece of a file of its own, which it reads as SentencePiece does."""
    names = [name for name in MODELS if os.path.isfile(os.path.join(path, name))]
    if not names:
        raise UserError(f"has no {FILE} and no {' or '.join(MODELS)}, the tokenizer")
    if config["model_type"] in RENUMBERED:
        raise UserError(
            f"has no {FILE}, and in {names[0]} the ids of a {config['model_type']} are others; "
            "save_pretrained of its tokenizer in Transformers writes one"
        )
    model = SentencePieceModel(os.path.join(path, names[0]))
    ids = dict(model.special_ids)
    settings = read_json(os.path.join(path, TOKENIZER_CONFIG)) or {}
    count = settings.get("extra_ids", T5_EXTRA_IDS if config["model_type"] == "t5" else 0)
    last = model.size + count - 1
    ids |= {f"<extra_id_{i}>": last - i for i in range(count)}
    ids |= read_json(os.path.join(path, "added_tokens.json")) or {}
    added = settings.get("added_tokens_decoder", {})
    ids |= {token["content"]: int(i) for i, token in added.items()}
    text_of(ids, eos_id(config))  # there must be one
    size = rows(config["vocab_size"], max(model.size - 1, *ids.values()) + 1)
    space = model.leading_space(first=settings.get("legacy") is False)
    return PretrainedSentencePieceTokenizer(
        model.content, eos_id(config), ids, size, space, True, begins
    )


def of_marian(path, config):
    """The two SentencePieces of Marian, and the ids of their pieces."""
    settings = read_json(os.path.join(path, TOKENIZER_CONFIG)) or {}
    if settings.get("separate_vocabs"):
        raise UserError("its two languages have ids of their own, which is not read here")
    vocabulary = read_json(os.path.join(path, VOCABULARY))
    missing = [n for n in (TARGET, VOCABULARY) if not os.path.isfile(os.path.join(path, n))]
    if missing:
        raise UserError(f"has {SOURCE}, and no {missing[0]}: the tokenizer is not complete")
    text_of(vocabulary, eos_id(config))  # there must be one
    if UNKNOWN not in vocabulary:
        raise UserError(f"{VOCABULARY} has no {UNKNOWN!r}, for pieces without an id")
    size = rows(config["vocab_size"], max(vocabulary.values()) + 1)
    models = [SentencePieceModel(os.path.join(path, name)).content for name in (SOURCE, TARGET)]
    return MarianTokenizer(*models, vocabulary, eos_id(config), size)


def rows(vocabulary_size, count):
    """The number of a model's ids, which the tokenizer's `count` must not exceed."""
    if vocabulary_size < count:
        raise UserError(
            f"the tokenizer has {count} ids and the model only {vocabulary_size}: they are "
            "not of the same checkpoint"
        )
    return vocabulary_size


def begin_token(path, config):
    """Our id of the token that a text begins with, 0 where it is the end's or there is none.

    Of an encoder-decoder it is the target that begins so.
    """
    eos = eos_id(config)
    if config.get("is_encoder_decoder"):
        begin = config.get("decoder_start_token_id")
        return swapped(config.get("pad_token_id", eos) if begin is None else begin, eos)
    begin = begin_id(path, config)
    return 0 if begin is None else swapped(begin, eos)


def begin_id(path, config):
    """The id there of the token that the tokenizer puts before a text, or None."""
    description = read_json(os.path.join(path, FILE))
    if description is None:
        settings = read_json(os.path.join(path, TOKENIZER_CONFIG)) or {}
        has_model = any(os.path.isfile(os.path.join(path, name)) for name in MODELS)
        begins = has_model and settings.get("add_bos_token", True)
        return config.get("bos_token_id") if begins else None
    with complete(os.path.join(path, FILE)):
        begin = begin_text(description)
        return None if begin is None else ids_of(description)[begin]


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
        if step.get("type") == "RobertaProcessing":
            return step["cls"][0]
    return None


def eos_id(config):
    """The id of a checkpoint's end of a text; of several the first."""
    eos = config.get("eos_token_id")
    eos = eos[0] if isinstance(eos, list) else eos
    if eos is None:
        raise UserError("config.json names no eos_token_id, the token that ends texts")
    return eos


def text_of(ids, eos):
    """The text of the id that ends texts, of {text: id}."""
    for text, i in ids.items():
        if i == eos:
            return text
    raise UserError(f"the tokenizer has no token {eos}, the eos_token_id of config.json")


def ids_of(description):
    vocabulary = description["model"]["vocab"]
    if isinstance(vocabulary, list):  # of unigrams, with their scores
        vocabulary = {text: i for i, (text, _) in enumerate(vocabulary)}
    added = {token["content"]: token["id"] for token in description.get("added_tokens", ())}
    return {**vocabulary, **added}


def write(tokenizer, path):
    """Writes a tokenizer for Transformers, where it is pretrained, or one of bytes or of their pairs.

    Returns:
      whether it is written.
    """
    inner = tokenizer.plain
    if isinstance(inner, MarianTokenizer):
        write_marian(inner, path)
        return True
    if isinstance(inner, PretrainedSentencePieceTokenizer) and inner.description is None:
        write_model(tokenizer, inner, path)
        return True
    described = description_of(tokenizer)
    if described is None:
        return False
    description, eos = described
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eos}
    begin = begin_text(description)
    if begin is not None:
        settings["bos_token"] = begin
    for name, value in ((FILE, description), (TOKENIZER_CONFIG, settings)):
        with open(os.path.join(path, name), "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=2)
    return True


def write_template(template, path, begins):
    """Writes a chat template where a tokenizer is written.

    Args:
      template: as `chat_template.render` has it, where texts begin without being told.
      path: of the folder.
      begins: whether they do. Transformers put no token before what a template writes.
    """
    settings = read_json(os.path.join(path, TOKENIZER_CONFIG)) or {}
    written = settings.get("bos_token") or "bos_token"
    if begins and "bos_token" not in template and written not in template:
        template = "{{ bos_token }}" + template
    with open(os.path.join(path, TEMPLATE), "w", encoding="utf-8", newline="") as file:
        file.write(template)


def write_marian(tokenizer, path):
    for name, content in ((SOURCE, tokenizer.source), (TARGET, tokenizer.target)):
        with open(os.path.join(path, name), "wb") as file:
            file.write(content)
    put_json(os.path.join(path, VOCABULARY), tokenizer.vocabulary)
    put_json(os.path.join(path, TOKENIZER_CONFIG), {"tokenizer_class": "MarianTokenizer"})


def write_model(tokenizer, inner, path):
    """Writes the SentencePiece model that a checkpoint had alone, and its special tokens."""
    own = getattr(tokenizer, "ids", {}).items()
    ids = {**inner.given_ids, **{text: i for text, i in own if i >= inner.vocabulary_size}}
    settings = {
        "eos_token": text_of(ids, inner.eos_id),
        "add_bos_token": inner.begins_texts,
        "legacy": inner.leading_space != "first",
        "extra_ids": 0,
        "added_tokens_decoder": {i: added_token(text, i) for text, i in ids.items()},
    }
    unigrams = inner.proto.trainer_spec.model_type == inner.proto.trainer_spec.UNIGRAM
    with open(os.path.join(path, "spiece.model" if unigrams else "tokenizer.model"), "wb") as file:
        file.write(inner.model)
    put_json(os.path.join(path, TOKENIZER_CONFIG), settings)


def description_of(tokenizer):
    """(what is to be in tokenizer.json, the text of its end), or None."""
    inner = tokenizer.plain
    if isinstance(inner, PretrainedBpeTokenizer):
        description, eos = copy.deepcopy(inner.description), inner.eos
    elif isinstance(inner, PretrainedSentencePieceTokenizer):
        description = copy.deepcopy(inner.description)
        eos = text_of(ids_of(description), inner.eos_id)
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
