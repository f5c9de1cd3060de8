import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tests.trainers.data.made import Listed, language_store, pair_store
from trainers.data import store, tasks
from trainers.data.simple_tokenizers import BytesTokenizer, WordsTokenizer
from trainers.errors import UserError


def test_examples_are_their_tokens_and_an_end(tmp_path):
    made = language_store(tmp_path, ["ab", "", "é x\n"])
    assert made.tokens.dtype == np.uint16
    assert list(made.tokens) == [98, 99, 0, 0, 0xC4, 0xAA, 33, 121, 11, 0]
    assert list(made.offsets) == [0, 3, 4, 10]
    assert list(made.targets_start) == [0, 3, 4]
    counts = {name: made.meta[name] for name in ("tokens", "examples", "target_tokens")}
    assert counts == {"tokens": 10, "examples": 3, "target_tokens": 10}
    assert made.meta["target_bytes"] == 7
    assert made.meta["target_words"] == 3 + 3


def test_pairs_are_inputs_an_end_targets_an_end(tmp_path):
    made = pair_store(tmp_path, [("a", "bc d"), ("", "x")])
    assert list(made.tokens) == [98, 0, 99, 100, 33, 101, 0, 0, 121, 0]
    assert list(made.offsets) == [0, 7, 10]
    assert list(made.targets_start) == [2, 8]
    assert made.meta["target_tokens"] == 7
    assert (made.meta["target_bytes"], made.meta["target_words"]) == (5, 5)


def test_a_document_in_pieces_is_one_example(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHUNK_CHARACTERS", 3)
    pieces = ["ab\n", "cd\n", "e", "f"]
    records = [{"text": text, "continues": i < 2} for i, text in enumerate(pieces)]
    made = store.build_store(
        tasks.language_modelling(Listed(records)), "train", BytesTokenizer(), str(tmp_path)
    )
    assert bytes(made.tokens.astype(np.uint8)) == b"bc\x0bde\x0bf\0g\0"
    assert list(made.offsets) == [0, 8, 10]
    assert list(made.targets_start) == [0, 8]


def test_large_vocabularies_have_wider_tokens(tmp_path):
    words = [f"w{i}" for i in range(70_000)]
    made = language_store(tmp_path, ["w0 w69999"], tokenizer=WordsTokenizer(words))
    assert made.tokens.dtype == np.uint32
    assert list(made.tokens) == [2, 70_001, 0]


def test_a_store_is_made_once_and_follows_text_split_and_tokenizer(tmp_path):
    first = language_store(tmp_path, ["a"])
    assert language_store(tmp_path, ["a"]).folder == first.folder
    others = [
        language_store(tmp_path, ["b"]),
        language_store(tmp_path, ["a"], split="validation"),
        language_store(tmp_path, ["a"], tokenizer=WordsTokenizer(["a"])),
    ]
    assert len({first.folder, *(other.folder for other in others)}) == 4


def test_a_split_without_text_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="the train split of the data has no text"):
        language_store(tmp_path, [])
    assert not [name for name in os.listdir(tmp_path) if not name.endswith((".lock", ".tmp"))]


def test_a_damaged_store_is_not_read(tmp_path):
    made = language_store(tmp_path, ["abc"])
    with open(os.path.join(made.folder, "tokens.bin"), "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="tokens.bin: damaged; delete"):
        language_store(tmp_path, ["abc"])


BUILDER = """
    import os, resource, sys, time
    from trainers.data import store, tasks
    from trainers.data.simple_tokenizers import BytesTokenizer
    from trainers.data.sources import Record

    class Source:
        splits = ("train",)

        def records(self, split):
            open("started", "a").write("x")
            for i in range(COUNT):
                yield Record({"text": str(i % 10) * 1000, "continues": False}, "made")
                PAUSE

        def fingerprint(self, split):
            return "made"

    task = tasks.language_modelling(Source())
    made = store.build_store(task, "train", BytesTokenizer(), "stores")
    print(made.meta["tokens"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def builder(folder, count, pause="pass"):
    program = textwrap.dedent(BUILDER).replace("COUNT", str(count)).replace("PAUSE", pause)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    run = [sys.executable, "-c", program]
    return subprocess.Popen(run, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_make_one_store(tmp_path):
    processes = [builder(tmp_path, 100, "time.sleep(0.01)") for _ in range(2)]
    outputs = [process.communicate()[0].split()[0] for process in processes]
    assert outputs == ["100100", "100100"]
    assert (tmp_path / "started").read_text() == "x"


def test_what_a_killed_builder_left_is_cleared_away(tmp_path):
    killed = builder(tmp_path, 1000, "time.sleep(0.1)")
    while not list(tmp_path.glob("stores/*.tmp/meta.json")) and not list(
        tmp_path.glob("stores/*.tmp/tokens.bin")
    ):
        assert killed.poll() is None
    killed.kill()
    killed.communicate()
    assert not [path for path in tmp_path.glob("stores/train-*") if path.suffix == ""]
    assert builder(tmp_path, 10).communicate()[0].split()[0] == "10010"
    assert not list(tmp_path.glob("stores/*.tmp"))


def test_memory_does_not_grow_with_the_text(tmp_path):
    peaks = []
    for count in (20_000, 80_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        tokens, peak = map(int, builder(folder, count).communicate()[0].split())
        assert tokens == count * 1001
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 20
