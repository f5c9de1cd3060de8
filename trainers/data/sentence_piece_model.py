"""The SentencePiece model that a tokenizer.json of Transformers was made of, made of it again.

Transformers writes such models in the terms of the library `tokenizers`; exports need the model.
"""

import base64
import itertools
import os
import re
from typing import NamedTuple

from trainers.data.pretrained_bpe import steps_of
from trainers.data.sentence_piece import SPACE_MARK
from trainers.errors import UserError

BYTE = re.compile("<0x([0-9A-F]{2})>")
NO_SCORES = "in an order that no scores of SentencePiece give, so that exports could not read texts"


class Reading(NamedTuple):
    """How texts are read before they are cut.

    Attributes:
      charsmap: bytes, SentencePiece's own table of normal forms.
      collapses: whether spaces at both ends, and all but one between words, are dropped.
      leading_space: which texts get a space before them: "always" all and what stands behind a
        special token, "first" all, None none.
      doubles: whether one that begins with a space gets another.
      splits: whether no token goes across the beginning of a word.
    """

    charsmap: bytes = b""
    collapses: bool = False
    leading_space: str | None = None
    doubles: bool = False
    splits: bool = False


class SentencePieceModel:
    """A file of SentencePiece.

    Attributes:
      content: bytes, the file.
      pieces: of its protocol buffer, in the order of their ids; `size` of them.
      special_ids: {text: id} of those that no text becomes.

    Raises:
      UserError: it is none.
    """

    def __init__(self, path):
        from google.protobuf.message import DecodeError
        from sentencepiece import sentencepiece_model_pb2

        with open(path, "rb") as file:
            self.content = file.read()
        name = os.path.basename(path)
        try:
            proto = sentencepiece_model_pb2.ModelProto.FromString(self.content)
        except DecodeError:
            raise UserError(f"{name} is no model of SentencePiece, or not complete") from None
        special = (proto.SentencePiece.CONTROL, proto.SentencePiece.UNKNOWN)
        self.pieces, self.normalizer = proto.pieces, proto.normalizer_spec
        self.size = len(proto.pieces)
        self.special_ids = {p.piece: i for i, p in enumerate(proto.pieces) if p.type in special}

    def leading_space(self, first=False):
        """See `Reading`; with `first` none is put behind special tokens."""
        if not self.normalizer.add_dummy_prefix or self.normalizer.remove_extra_whitespaces:
            return None
        return "first" if first else "always"


def is_sentence_piece(description):
    """Whether a tokenizer.json is of SentencePiece's kind: unigrams, or BPE with byte fallback."""
    model = description.get("model", {})
    return model.get("type") == "Unigram" or bool(model.get("byte_fallback"))


def rebuilt(description):
    """The model of a tokenizer.json.

    Where the library `tokenizers` has other ids, these are SentencePiece's, by which such models are
    trained. It does where two ways to cut a text are equally likely; of a charsmap, where a text has
    U+0085, or a joiner or variation selector behind a letter with an accent; and some files of it
    keep a space at the end of a text, or have own tokens of U+2581. What spells a special token is
    letters.

    Args:
      description: what is in tokenizer.json, a dict.

    Returns:
      (the serialized model, its `Reading`).

    Raises:
      UserError: one that SentencePiece cannot do, or that is not known.
    """
    from sentencepiece import sentencepiece_model_pb2

    reading, model = reading_of(description), description["model"]
    pieces = list_of(description)
    types = types_of(description, pieces)
    normal = {text for text, kind in zip(pieces, types, strict=True) if kind == "NORMAL"}
    if model["type"] == "Unigram":
        scores = dict(model["vocab"])
    else:
        scores = scores_of(model, normal)
    if reading.splits and (across := [text for text in normal if SPACE_MARK in text[1:]]):
        raise UserError(
            f"tokenizer.json cuts at every space and has the token {across[0]!r} across one"
        )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.trainer_spec.model_type = 1 if model["type"] == "Unigram" else 2
    proto.trainer_spec.byte_fallback = bool(model.get("byte_fallback"))
    for text, kind in zip(pieces, types, strict=True):
        score = scores.get(text, 0.0)
        proto.pieces.add(piece=text, score=score, type=proto.SentencePiece.Type.Value(kind))
    proto.normalizer_spec.precompiled_charsmap = reading.charsmap
    proto.normalizer_spec.remove_extra_whitespaces = reading.collapses
    proto.normalizer_spec.add_dummy_prefix = reading.leading_space is not None
    return proto.SerializeToString(), reading


def reading_of(description):
    """The `Reading` of a tokenizer.json."""
    reading, marked = Reading(), False
    for step in steps_of(description.get("normalizer"), "normalizers"):
        kind, pattern = step["type"], step.get("pattern", {})
        change = (*pattern.values(), step.get("content"))
        if kind == "Precompiled":
            charsmap = base64.b64decode(step["precompiled_charsmap"])
            reading = reading._replace(charsmap=charsmap)
        elif kind == "Prepend" and step["prepend"] == SPACE_MARK:
            reading = reading._replace(leading_space="always", doubles=True)
        elif change == (rf"\A{SPACE_MARK}", SPACE_MARK * 2):
            reading = reading._replace(doubles=True)
        elif kind == "Strip" or change[:-1] in [(" {2,}",), (r"\A +| +\z",)]:
            reading = reading._replace(collapses=True)
        elif change == (" ", SPACE_MARK):
            marked = True
        else:
            raise UserError(f"tokenizer.json normalises by {step}, which is not known here")
    for step in steps_of(description.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] == "WhitespaceSplit":
            reading = reading._replace(collapses=True)
        elif step["type"] == "Metaspace" and step["replacement"] == SPACE_MARK:
            older = "always" if step.get("add_prefix_space", True) else "never"
            scheme = step.get("prepend_scheme", older)
            space = None if scheme == "never" else scheme
            reading = reading._replace(leading_space=space, splits=step.get("split", True))
            marked = True
        elif not marked or step.get("pattern") != {"String": " "}:  # of which there are none left
            raise UserError(f"tokenizer.json splits by {step['type']}, which is not known here")
    if not marked:
        raise UserError(
            f"tokenizer.json does not write spaces as {SPACE_MARK}, as SentencePiece does"
        )
    return reading


def list_of(description):
    """The text of each id; behind them, what SentencePiece wants and the file has not."""
    model, vocabulary = description["model"], description["model"]["vocab"]
    if model["type"] == "Unigram":
        ids = {text: i for i, (text, _) in enumerate(vocabulary)}
    else:
        ids = dict(vocabulary)
    ids |= {token["content"]: token["id"] for token in description.get("added_tokens", ())}
    texts = {i: text for text, i in ids.items() if text}
    pieces = [texts.get(i, f"<no token {i}>") for i in range(max(texts) + 1)]
    if model.get("byte_fallback"):
        missing = [byte for byte in range(256) if f"<0x{byte:02X}>" not in ids]
        needed = [byte for byte in missing if byte > 127 or chr(byte) not in ids]
        if needed:
            raise UserError(f"tokenizer.json has no token for {len(needed)} of the 256 bytes")
        pieces += [f"<0x{byte:02X}>" for byte in missing]
    if unknown_of(description) is None:
        if not model.get("byte_fallback"):
            raise UserError("tokenizer.json has no token for what it does not know")
        pieces.append("<no token>")
    return pieces


def unknown_of(description):
    """The text of the unknown token, or None."""
    model = description["model"]
    if model["type"] == "Unigram":
        return None if model.get("unk_id") is None else model["vocab"][model["unk_id"]][0]
    return model.get("unk_token")


def types_of(description, pieces):
    """SentencePiece's types of pieces, by name."""
    model, unknown = description["model"], unknown_of(description) or "<no token>"
    added = {token["content"]: token for token in description.get("added_tokens", ())}
    spaces = spaces_that_merge(model)
    types = []
    for text in pieces:
        if text == unknown:
            types.append("UNKNOWN")
        elif text in added and added[text]["special"]:
            types.append("CONTROL")
        elif text in added:
            check_own(added[text], description)
            types.append("NORMAL" if text in spaces else "USER_DEFINED")
        elif model.get("byte_fallback") and BYTE.fullmatch(text):
            types.append("BYTE")
        else:
            types.append("UNUSED" if text.startswith("<no token") else "NORMAL")
    return types


def spaces_that_merge(model):
    """The runs of spaces, "▁▁" and more, whose merges follow each other.

    As own tokens they are meant for texts that have U+2581 in them; spaces become them by merges. In
    files where these are mixed the longest run goes first, as it does of SentencePiece's own tokens.
    """
    made = ("".join(parts_of(merge)) for merge in model.get("merges", ()))
    groups = [text for text, _ in itertools.groupby(made) if not text.strip(SPACE_MARK)]
    return set(groups) if len(set(groups)) == len(groups) else set()


def parts_of(merge):
    return merge.split(" ") if isinstance(merge, str) else merge


def check_own(token, description):
    """Raises UserError for a token of texts that stands otherwise than SentencePiece's do."""
    widened = [name for name in ("single_word", "lstrip", "rstrip") if token.get(name)]
    if widened or reading_of(description).leading_space:
        why = f"has {widened[0]}" if widened else "takes the space from a text that it begins"
        raise UserError(
            f"tokenizer.json has the token {token['content']!r}, which {why}: exports cannot do so"
        )


def scores_of(model, normal):
    """{piece: score} by which SentencePiece merges as the list of merges says.

    SentencePiece joins those neighbours that make the piece of the highest score, any two: so all
    ways to make a piece must be merges, and follow each other.
    """
    if model.get("dropout") or model.get("ignore_merges"):
        raise UserError("tokenizer.json has dropout or ignores merges, which exports cannot do")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise UserError("tokenizer.json marks parts of words, which SentencePiece does not")
    scores, ways, last = {}, {}, None
    for merge in model["merges"]:
        left, right = parts_of(merge)
        made = left + right
        if not {left, right, made} <= normal:
            continue
        if made != last and made in scores:
            raise UserError(f"tokenizer.json merges {made!r} {NO_SCORES}")
        scores.setdefault(made, -float(len(scores)))
        ways[made] = ways.get(made, 0) + 1
        last = made
    for piece in normal:
        pairs = ((piece[:i], piece[i:]) for i in range(1, len(piece)))
        if sum(pair[0] in normal and pair[1] in normal for pair in pairs) != ways.get(piece, 0):
            raise UserError(f"tokenizer.json merges {piece!r} {NO_SCORES}")
    return scores
