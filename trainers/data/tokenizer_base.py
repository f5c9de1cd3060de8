"""What every tokenizer is and does: ids, saving, its fingerprint. The kinds are elsewhere."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from trainers.errors import UserError

EOS = 0
UNKNOWN = 1
META = "tokenizer.json"
# Characters that Unicode has for internal use.
GOES_ON = "\ufdd1"
ANSWER = "\ufdd2"


class Tokenizer:
    """Text to token ids and back. Id 0 is `<eos>`, which no text contains.

    Subclasses give `kind`, `encode`, `decode_tokens`, `in_graph` and `assets`, and take
    what `assets` gave in `from_assets`.

    Attributes:
      kind: as in `tokenizers.train_tokenizer`.
      vocabulary_size: number of ids.
      learns_subwords: whether `train` needs a vocabulary size.
      special_tokens, separator: see special_tokens.py; most have none.
      special_ids: {text: id} of special tokens that it has and makes of no text.
      begins_texts: whether a text that a model goes on from is read behind a first token, `<eos>`
        or a model's `begin_token`; some pretrained models read texts as they are.
      leading_space: None for most; of pretrained models that put a space before texts "always" or
        "first", see `sentence_piece_model.Reading`. To these a text that begins with `GOES_ON` goes
        on from another, and gets none.
      reads_answers_apart: whether what a model answers, told by `ANSWER` before it, has other tokens
        than the same text in a question.
    """

    kind: str
    vocabulary_size: int
    learns_subwords = False
    special_tokens: tuple[str, ...] = ()
    special_ids: ClassVar[dict[str, int]] = {}
    begins_texts = True
    leading_space: str | None = None
    reads_answers_apart = False
    separator = ""

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary_size: int | None = None) -> "Tokenizer":
        """A tokenizer for texts like these.

        Raises:
          UserError: the texts have not as many words or subwords as that.
        """
        raise NotImplementedError

    def encode(self, text: str) -> np.ndarray:
        """int32 [T], the ids of a text, without `<eos>`."""
        raise NotImplementedError

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; `<eos>` is nothing."""
        return self.decode_tokens([int(i) for i in ids if i != EOS])

    def decode_tokens(self, ids: list[int]) -> str:
        raise NotImplementedError

    def in_graph(self):
        """The same tokenizer as a tf.Module, of operations that need no Python.

        `tokenize(strings [N])` gives a ragged int32 [N, None]; `detokenize(int32 [N, T],
        dense or ragged)` gives strings [N], of what stands before the first `<eos>`.
        """
        raise NotImplementedError

    def assets(self) -> dict[str, bytes]:
        """The files that say all about it, by name."""
        raise NotImplementedError

    @classmethod
    def from_assets(cls, assets: dict[str, bytes]):
        raise NotImplementedError

    @property
    def plain(self) -> "Tokenizer":
        """The tokenizer without the special tokens that were added to it."""
        return self

    @property
    def fingerprint(self) -> str:
        """Equal for tokenizers that give equal ids."""
        digest = hashlib.sha256(self.kind.encode())
        for name, content in sorted(self.assets().items()):
            digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()

    def save(self, folder: str, learned_from: str = ""):
        """Writes the folder whole or not at all; what was there before is replaced.

        Args:
          folder: path.
          learned_from: kept for `tokenizers.learned_from`.
        """
        meta = {
            "kind": self.kind,
            "vocabulary_size": self.vocabulary_size,
            "fingerprint": self.fingerprint,
            "learned_from": learned_from,
        }
        contents = {META: json.dumps(meta, indent=2).encode() + b"\n", **self.assets()}
        temporary = f"{folder.rstrip('/')}.tmp-{os.getpid()}"
        os.makedirs(temporary)
        for name, content in contents.items():
            with open(os.path.join(temporary, name), "wb") as file:
                file.write(content)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(temporary, folder)


class PretrainedTokenizer(Tokenizer):
    """One that comes with a model, whose end of a text, `eos_id`, changes places with id 0."""

    eos_id: int

    @classmethod
    def train(cls, texts, vocabulary_size=None):
        raise UserError(
            f"TOKENIZER = {cls.kind!r}: is not learned; give the folder of the pretrained model"
        )

    def swapped(self, ids):
        """Ids with that of the end and 0 in each other's place; both ways."""
        ids = np.asarray(ids)
        return np.where(ids == self.eos_id, EOS, np.where(ids == EOS, self.eos_id, ids))[()]
