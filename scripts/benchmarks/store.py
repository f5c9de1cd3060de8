"""Reading a token store: tokens a second, the first batch at a far step, and memory.

python scripts/benchmarks/store.py [TOKENS] [BATCH_SIZE] [LENGTH] prints one JSON object.
"""

import json
import os
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

FAR_STEP = 1_000_000
SECONDS = 10.0


def write_store(folder, tokens):
    """A store of `tokens` random tokens in uint16, a part at a time."""
    generator = np.random.default_rng(0)
    part = 1 << 20
    with open(os.path.join(folder, "tokens.bin"), "wb") as file:
        for begin in range(0, tokens, part):
            size = min(part, tokens - begin)
            file.write(generator.integers(1 << 16, size=size, dtype=np.uint16).tobytes())
    for name, values in (("offsets", [0, tokens]), ("targets_start", [0])):
        np.array(values, np.int64).tofile(os.path.join(folder, f"{name}.bin"))
    meta = {"kind": "language_modelling", "split": "train", "dtype": "uint16"}
    meta |= {"tokens": tokens, "examples": 1}
    with open(os.path.join(folder, "meta.json"), "w", encoding="utf-8") as file:
        json.dump(meta, file)


def resident_bytes(kind="RssAnon"):
    """This process' own memory; pages of the store that the system keeps are not counted."""
    with open("/proc/self/status", encoding="utf-8") as file:
        (line,) = (line for line in file if line.startswith(f"{kind}:"))
    return int(line.split()[1]) * 1024


def measure(folder, batch_size, length):
    from trainers import startup

    startup.import_tensorflow()
    from trainers.data import batches, pipeline
    from trainers.data.store import open_store

    plan = batches.windows(open_store(folder), batch_size, length)
    next(iter(pipeline.dataset(plan)))  # what TensorFlow starts once is not the store's

    begin = time.perf_counter()
    feed = iter(pipeline.dataset(plan, FAR_STEP))
    next(feed)
    first_batch = time.perf_counter() - begin

    memory, count = None, 0
    begin = time.perf_counter()
    while (passed := time.perf_counter() - begin) < SECONDS:
        next(feed)
        count += 1
        if memory is None and passed > SECONDS / 4:
            memory = resident_bytes()
    return {
        "tokens_per_second": count * batch_size * length / passed,
        "first_batch_seconds": first_batch,
        "memory_growth_bytes": resident_bytes() - memory,
    }


def main():
    tokens, batch_size, length = map(int, sys.argv[1:] or (200_000_000, 32, 1024))
    with tempfile.TemporaryDirectory() as folder:
        write_store(folder, tokens)
        print(json.dumps(measure(folder, batch_size, length)))


if __name__ == "__main__":
    main()
