"""The token store: a split tokenized once and memory-mapped ever after.

A folder with
  tokens.bin         uint16 or uint32, each example's tokens and then a 0, one after another;
                     text-to-text examples are inputs, 0, targets, 0;
  offsets.bin        int64 [N + 1], where each example starts;
  targets_start.bin  int64 [N], where its targets start;
  meta.json          counts and fingerprints.
It is written under another name and renamed, so that there is never half a store.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil

import numpy as np

from trainers.data.files import locked
from trainers.data.tokenizer_base import EOS
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
        UTF-8), "target_words" (of the text, and one more an example for its end), and the
        fingerprints "tokenizer" and "source".
    """

    folder: str
    tokens: np.ndarray
    offsets: np.ndarray
    targets_start: np.ndarray
    meta: dict


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
    for name, dtype, size in (
        ("tokens", meta["dtype"], meta["tokens"]),
        ("offsets", "int64", meta["examples"] + 1),
        ("targets_start", "int64", meta["examples"]),
    ):
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
    with contextlib.ExitStack() as stack:
        tokens_file, offsets_file, targets_file = (
            stack.enter_context(open(os.path.join(folder, f"{name}.bin"), "wb"))
            for name in ("tokens", "offsets", "targets_start")
        )
        offsets_file.write(np.int64(0).tobytes())
        begins = True
        for chunk in chunks(task.examples(split)):
            texts = [example["targets"] for example in chunk]
            targets = tokenizer.encode_batch(texts)
            with_inputs = "inputs" in chunk[0]
            inputs = tokenizer.encode_batch([e["inputs"] for e in chunk]) if with_inputs else None
            out, starts, ends = [], [], []
            position = counts["tokens"]
            for i, example in enumerate(chunk):
                if with_inputs:
                    out += [inputs[i], [EOS]]
                    position += len(inputs[i]) + 1
                if begins:
                    starts.append(position)
                begins = not example.get("continues")
                out.append(targets[i])
                position += len(targets[i])
                if begins:
                    out.append([EOS])
                    position += 1
                    ends.append(position)
            tokens_file.write(np.concatenate(out).astype(dtype).tobytes())
            targets_file.write(np.array(starts, np.int64).tobytes())
            offsets_file.write(np.array(ends, np.int64).tobytes())
            counts["tokens"] = position
            counts["examples"] += len(ends)
            counts["target_tokens"] += sum(map(len, targets)) + len(ends)
            counts["target_bytes"] += sum(len(text.encode()) for text in texts)
            counts["target_words"] += sum(len(text.split()) for text in texts) + len(ends)
    if not counts["examples"]:
        raise UserError(f"the {split} split of the data has no text in it; see its files")
    meta = {
        "kind": task.kind,
        "split": split,
        "dtype": np.dtype(dtype).name,
        **counts,
        "tokenizer": tokenizer.fingerprint,
        "source": source,
    }
    with open(os.path.join(folder, "meta.json"), "w", encoding="utf-8") as file:
        json.dump(meta, file, indent=2)


def chunks(examples):
    """Lists of examples that are a few MiB of text each."""
    chunk, characters = [], 0
    for example in examples:
        chunk.append(example)
        characters += sum(len(text) for text in example.values() if isinstance(text, str))
        if characters >= CHUNK_CHARACTERS or len(chunk) == CHUNK_EXAMPLES:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
