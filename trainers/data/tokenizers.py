"""Tokenizers by kind: train one on texts, load one that was saved.

| kind | what a token is |
|---|---|
| bytes | a byte of UTF-8 |
| characters | a Unicode character |
| words | a word between white space |
| bpe | byte-level byte-pair encoding |
| unigram | a SentencePiece of the unigram language model |
| sentencepiece_bpe | a SentencePiece of byte-pair encoding |
| pretrained_bpe | byte-pair encoding of a pretrained model; loaded and not learned |
| pretrained_sentence_piece | a SentencePiece of a pretrained model; loaded and not learned |
| pretrained_marian | the same by Marian's two models, of a source and a target language |
"""

import json
import os
from collections.abc import Iterator, Sequence

import gin

from trainers.data.byte_pair import BytePairTokenizer
from trainers.data.marian import MarianTokenizer
from trainers.data.pretrained_bpe import PretrainedBpeTokenizer
from trainers.data.pretrained_sentence_piece import PretrainedSentencePieceTokenizer
from trainers.data.sentence_piece import SentencePieceBpeTokenizer, UnigramTokenizer
from trainers.data.simple_tokenizers import BytesTokenizer, CharactersTokenizer, WordsTokenizer
from trainers.data.special_tokens import FILE as SPECIAL_TOKENS
from trainers.data.special_tokens import SpecialTokenizer, plain_pieces, with_special_tokens
from trainers.data.tokenizer_base import META, Tokenizer
from trainers.errors import UserError
from trainers.hub import presets
from trainers.hugging_face import tokenizer as hugging_face
from trainers.hugging_face.folder import is_checkpoint

KINDS: dict[str, type[Tokenizer]] = {
    tokenizer.kind: tokenizer
    for tokenizer in (
        BytesTokenizer,
        CharactersTokenizer,
        WordsTokenizer,
        BytePairTokenizer,
        UnigramTokenizer,
        SentencePieceBpeTokenizer,
        PretrainedBpeTokenizer,
        PretrainedSentencePieceTokenizer,
        MarianTokenizer,
    )
}


@gin.configurable
def train_tokenizer(
    kind: str,
    texts: Iterator[str],
    vocabulary_size: int | None = None,
    max_characters: int = 100_000_000,
    special_tokens: Sequence[str] | None = None,
) -> Tokenizer:
    """Learns a tokenizer from texts, or loads one.

    Args:
      kind: one of `KINDS`, or the folder of a saved tokenizer, of a checkpoint of Transformers
        or of a preset of KerasHub.
      texts: read once, and no further than is needed.
      vocabulary_size: number of ids; None for all words there are. Bytes and characters
        need none.
      max_characters: subwords are learned from the first so many.
      special_tokens: texts that are one token each, beside `vocabulary_size`; None for a tokenizer
        without, () for one that knows separators alone (see special_tokens.py).

    Raises:
      UserError: no such kind; no vocabulary size where one is needed; one too large for the texts.
    """
    if special_tokens is not None:
        plain = plain_pieces(texts, special_tokens)
        learned = train_tokenizer(kind, plain, vocabulary_size, max_characters)
        return with_special_tokens(learned, special_tokens)
    if presets.is_preset(kind):
        return presets.load_tokenizer(kind)
    if is_checkpoint(kind):
        return hugging_face.load(kind)
    if os.path.isfile(os.path.join(kind, META)):
        return load(kind)
    if kind not in KINDS:
        raise UserError(
            f"TOKENIZER = {kind!r}: neither a folder with a {META} nor one of {', '.join(KINDS)}"
        )
    if KINDS[kind].learns_subwords:
        if not vocabulary_size:
            raise UserError(f"TOKENIZER = {kind!r} needs a VOCABULARY_SIZE")
        texts = first(texts, max_characters)
    return KINDS[kind].train(texts, vocabulary_size)


def load(folder: str) -> Tokenizer:
    """The tokenizer that `Tokenizer.save` wrote.

    Raises:
      UserError: there is none, or its files are not those that were saved.
    """
    try:
        contents = {}
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "rb") as file:
                contents[name] = file.read()
        meta = json.loads(contents.pop(META))
        special_tokens = contents.pop(SPECIAL_TOKENS, None)
        tokenizer = KINDS[meta["kind"]].from_assets(contents)
        if special_tokens is not None:
            tokenizer = SpecialTokenizer(tokenizer, json.loads(special_tokens))
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{folder}: no tokenizer can be loaded from it ({error!r})") from error
    if tokenizer.fingerprint != meta["fingerprint"]:
        raise UserError(f"{folder}: its files were changed after saving; train the tokenizer anew")
    return tokenizer


def learned_from(folder: str) -> str | None:
    """What `Tokenizer.save` was told of a tokenizer; None where there is none that is whole."""
    try:
        load(folder)
    except UserError:
        return None
    with open(os.path.join(folder, META), encoding="utf-8") as file:
        return json.load(file).get("learned_from")


def first(texts, characters):
    """Texts up to a number of characters in all."""
    for text in texts:
        yield text[:characters]
        characters -= len(text)
        if characters <= 0:
            return
