"""Tasks and stores made on the spot for the tests of data."""

import numpy as np

from trainers.data import store, tasks
from trainers.data.preferences import preferences
from trainers.data.simple_tokenizers import BytesTokenizer
from trainers.data.sources import Record


class Listed:
    """A source of given records."""

    splits = ("train", "validation")

    def __init__(self, records, name="listed"):
        self.given = records
        self.name = name

    def records(self, split):
        return (Record(fields, f"listed:{i}") for i, fields in enumerate(self.given, 1))

    def fingerprint(self, split):
        return f"{self.name} {split}"

    def check(self):
        pass


def language_store(folder, texts, split="train", tokenizer=None):
    task = tasks.language_modelling(Listed([{"text": text} for text in texts], str(texts)))
    return store.build_store(task, split, tokenizer or BytesTokenizer(), str(folder))


def pair_store(folder, pairs, split="train"):
    records = [{"source": source, "target": target} for source, target in pairs]
    task = tasks.text_to_text(Listed(records, str(pairs)))
    return store.build_store(task, split, BytesTokenizer(), str(folder))


def preference_store(folder, triples, split="train", reads_source=False):
    """Of (prompt, chosen, rejected) texts."""
    names = ("prompt", "chosen", "rejected")
    records = [dict(zip(names, triple, strict=True)) for triple in triples]
    task = preferences(Listed(records, str(triples))).for_model(reads_source)
    return store.build_store(task, split, BytesTokenizer(), str(folder))


def texts(count, seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abcdefgh "), rng.integers(30))) + "." for _ in range(count)]


def pairs(count):
    return list(zip(texts(count), texts(count, seed=1), strict=True))


def epoch_of(plan, epoch=0):
    steps = plan.steps_per_epoch
    return [plan.batch(step) for step in range(epoch * steps, (epoch + 1) * steps)]


def same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def rows_of_epoch(plan, epoch):
    """The rows of an epoch of any number of rows, each a dict."""
    rows = []
    for index in range(epoch * plan.rows_per_epoch, (epoch + 1) * plan.rows_per_epoch):
        step, row = divmod(index, plan.batch_size)
        rows.append({name: feature[row] for name, feature in plan.batch(step).items()})
    return rows
