"""The token store: a split tokenized once and memory-mapped ever after.

A folder with
  tokens.bin         uint16 or uint32, each example's tokens and then a 0, one after another;
                     text-to-text examples are inputs, 0, targets, 0, and a conversation's
                     parts follow each other;
  offsets.bin        int64 [N + 1], where each example starts;
  targets_start.bin  int64 [N], where its targets start;
  learned.bin        of conversations alone: uint8 [M], 1 where a token is to be predicted;
  meta.json          counts and fingerprints.
It is written under another name and renamed, so that there is never half a store.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from typing import NamedTuple

import numpy as np

from trainers.data.files import locked
from trainers.data.special_tokens import SEPARATOR
from trainers.data.tokenizer_base import ANSWER, EOS, GOES_ON
from trainers.errors import UserError

FORMAT = 1
CHUNK_CHARACTERS = 1 << 22
CHUNK_EXAMPLES = 1 << 14


@dataclasses.dataclass(frozen=True)
class Store:
    """An opened store.

    Attributes:
      folder: where it is.
      tokens: [M], uint16 or uint32.
      offsets: int64 [N + 1].
      targets_start: int64 [N]; equals `offsets[:-1]` where examples have no inputs.
      meta: "kind" of the task, "split", "dtype", the counts "tokens", "examples",
        "target_tokens" (each example's `<eos>` included), "target_bytes" (of the text in
        UTF-8), "target_words" (of the text, and one more an example for its end), "pairs" (the
        task's), and the fingerprints "tokenizer" and "source".
      learned: uint8 [M] of conversations, else None.
    """

    folder: str
    tokens: np.ndarray
    offsets: np.ndarray
    targets_start: np.ndarray
    meta: dict
    learned: np.ndarray | None = None


def build_store(task, split, tokenizer, data_dir) -> Store:
    """Opens the store of a task's split, after making it where there is none.

    Several processes that ask for the same store at once get one: the first builds,
    the others wait. Memory stays the same however long the text is.

    Args:
      task: see tasks.py.
      split: "train", "validation" or "test".
      tokenizer: see tokenizers.py.
      data_dir: folder for all stores.

    Raises:
      UserError: there is no example.
    """
    source = task.fingerprint(split)
    key = hashlib.sha256(f"{FORMAT} {source} {tokenizer.fingerprint}".encode()).hexdigest()[:16]
    os.makedirs(data_dir, exist_ok=True)
    folder = os.path.join(data_dir, f"{split}-{tokenizer.kind}-{key}")
    if not os.path.isdir(folder):
        with locked(f"{folder}.lock"):
            if not os.path.isdir(folder):
                temporary = f"{folder}.tmp"
                # Whoever left this behind held the lock, and does not any more.
                shutil.rmtree(temporary, ignore_errors=True)
                os.mkdir(temporary)
                write_store(task, split, tokenizer, temporary, source)
                os.rename(temporary, folder)
    return open_store(folder)


def open_store(folder) -> Store:
    with open(os.path.join(folder, "meta.json"), encoding="utf-8") as file:
        meta = json.load(file)
    arrays = {}
    kept = [
        ("tokens", meta["dtype"], meta["tokens"]),
        ("offsets", "int64", meta["examples"] + 1),
        ("targets_start", "int64", meta["examples"]),
    ]
    if meta["kind"] == "conversation":
        kept.append(("learned", "uint8", meta["tokens"]))
    for name, dtype, size in kept:
        path = os.path.join(folder, f"{name}.bin")
        if os.path.getsize(path) != size * np.dtype(dtype).itemsize:
            raise UserError(f"{path}: damaged; delete {folder}, and it will be made anew")
        # A plain array over the map: np.memmap's own indexing is slower.
        arrays[name] = np.asarray(np.memmap(path, dtype, mode="r")).view(np.ndarray)
    return Store(folder, meta=meta, **arrays)


def write_store(task, split, tokenizer, folder, source):
    dtype = np.uint16 if tokenizer.vocabulary_size <= 1 << 16 else np.uint32
    counts = dict.fromkeys(["tokens", "examples", "target_tokens", "target_bytes"], 0)
    counts["target_words"] = 0
    names = ["tokens", "offsets", "targets_start"]
    names += ["learned"] if task.kind == "conversation" else []
    with contextlib.ExitStack() as stack:
        files = {
            name: stack.enter_context(open(os.path.join(folder, f"{name}.bin"), "wb"))
            for name in names
        }
        files["offsets"].write(np.int64(0).tobytes())
        begins = ended = True
        for chunk in chunks(task.examples(split)):
            examples = [parts_of(example) for example in chunk]
            parts = [part for example in examples for part in example]
            texts = [part.text for part in parts]
            if tokenizer.leading_space:
                for i, part in enumerate(parts):
                    texts[i] = part.text if ended else GOES_ON + part.text
                    ended = part.ends
            if tokenizer.reads_answers_apart:
                texts = [ANSWER + part.text if part.learned else part.text for part in parts]
            tokens = tokenizer.encode_batch(texts)
            learned, starts, ends = [], [], []
            position = counts["tokens"]
            for i, part in enumerate(parts):
                if part.ends and not (len(tokens[i]) and tokens[i][-1] == EOS):
                    tokens[i] = np.append(tokens[i], EOS)
                if begins and part.learned:
                    starts.append(position)
                    begins = False
                position += len(tokens[i])
                learned.append(np.full(len(tokens[i]), part.learned, np.uint8))
                if part.ends and part.learned:
                    ends.append(position)
                    begins = True
            files["tokens"].write(np.concatenate(tokens).astype(dtype).tobytes())
            files["targets_start"].write(np.array(starts, np.int64).tobytes())
            files["offsets"].write(np.array(ends, np.int64).tobytes())
            learned = np.concatenate(learned)
            if "learned" in files:
                files["learned"].write(learned.tobytes())
            texts = [part.text.replace(SEPARATOR, "") for part in parts if part.learned]
            counts["tokens"] = position
            counts["examples"] += len(ends)
            counts["target_tokens"] += int(learned.sum())
            counts["target_bytes"] += sum(len(text.encode()) for text in texts)
            counts["target_words"] += sum(len(text.split()) for text in texts) + len(ends)
    if not counts["examples"]:
        raise UserError(f"the {split} split of the data has no text in it; see its files")
    meta = {
        "kind": task.kind,
        "split": split,
        "dtype": np.dtype(dtype).name,
        **counts,
        "pairs": task.pairs,
        "tokenizer": tokenizer.fingerprint,
        "source": source,
    }
    with open(os.path.join(folder, "meta.json"), "w", encoding="utf-8") as file:
        json.dump(meta, file, indent=2)


class Part(NamedTuple):
    """A text with tokens of its own.

    Args:
      text: str.
      learned: whether it is predicted.
      ends: whether an <eos> follows; of what is learned, the example's.
    """

    text: str
    learned: bool
    ends: bool


def parts_of(example):
    """The `Part`s of an example."""
    if "parts" in example:
        *parts, (text, learned) = example["parts"]
        return [*(Part(*part, False) for part in parts), Part(text, learned, True)]
    targets = Part(example["targets"], True, not example.get("continues"))
    return [Part(example["inputs"], False, True), targets] if "inputs" in example else [targets]


def chunks(examples):
    """Lists of examples that are a few MiB of text each."""
    chunk, characters = [], 0
    for example in examples:
        chunk.append(example)
        characters += sum(len(part.text) for part in parts_of(example))
        if characters >= CHUNK_CHARACTERS or len(chunk) == CHUNK_EXAMPLES:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
