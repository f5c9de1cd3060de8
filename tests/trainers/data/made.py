"""Tasks and stores made on the spot for the tests of data."""

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
