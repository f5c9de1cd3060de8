"""Where records come from: files of text, JSON lines, TSV and parallel text.

A source has
  splits: names of the splits it has, of "train", "validation" and "test";
  records(split): iterator of `Record`s, read as it goes;
  fingerprint(split): a string that changes when the records do; cheap;
  check(): raises UserError where files are missing; cheap.

Files are given as a path, a glob or a list of them, and are read in sorted order;
a name that ends in `.gz` is unpacked while reading. Further sources are in
table_files.py, squad.py, self_supervised.py, datasets.py and dates.py.
"""

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from typing import Literal

import gin

from trainers.data.files import describe, expand, lines, pieces
from trainers.errors import UserError


class Record(dict):
    """The fields of one record, and where it was read, for messages.

    A text record may carry `continues=True`: its document goes on in the next record.
    """

    def __init__(self, fields, where):
        super().__init__(fields)
        self.where = where

    def __missing__(self, field):
        fields = ", ".join(map(str, self)) or "none"
        raise UserError(f"{self.where}: no field {field!r}; the fields are: {fields}")


class JsonRecord(Record):
    """One read from JSON, where "\\ud83d" may be half of a character, which is no text."""

    def __getitem__(self, field):
        value = super().__getitem__(field)
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{self.where}: {field} has {error.object[error.start]!r}, half of a character "
                "whose other half is missing; mend it"
            ) from None
        return value


@gin.configurable
def text_files(
    train: Sequence[str] | str,
    validation: Sequence[str] | str | None = None,
    test: Sequence[str] | str | None = None,
    mode: Literal["document", "line"] = "document",
    validation_fraction: float = 0.0,
    encoding_errors: Literal["error", "replace"] = "error",
    keep_blank_lines: bool = False,
):
    """Plain text in UTF-8. Records: {"text": str}.

    Args:
      train, validation, test: files.
      mode: what an example is: a whole file ("document") or a line of it ("line").
      validation_fraction: without `validation`, this part of the training text, its
        end, is the validation split: counted in characters over all files in document
        mode, in lines in line mode.
      encoding_errors: at bytes that are not UTF-8 stop ("error") or put U+FFFD ("replace").
      keep_blank_lines: in line mode, blank lines are examples too.
    """
    return TextFiles(
        {"train": train, "validation": validation, "test": test},
        mode,
        validation_fraction,
        encoding_errors,
        keep_blank_lines,
    )


@gin.configurable
def jsonl_files(
    train: Sequence[str] | str,
    validation: Sequence[str] | str | None = None,
    test: Sequence[str] | str | None = None,
):
    """One JSON object a line; its fields are the record's."""
    return JsonlFiles({"train": train, "validation": validation, "test": test})


@gin.configurable
def tsv_files(
    train: Sequence[str] | str,
    validation: Sequence[str] | str | None = None,
    test: Sequence[str] | str | None = None,
    fields: Sequence[str] | None = None,
):
    """Fields with a tab between them, one record a line, nothing quoted.

    Args:
      train, validation, test: files.
      fields: names of the columns; None where the first line of each file names them.
    """
    return TsvFiles({"train": train, "validation": validation, "test": test}, fields)


@gin.configurable
def parallel_files(
    train: Sequence[str] | str,
    validation: Sequence[str] | str | None = None,
    test: Sequence[str] | str | None = None,
    languages: Sequence[str] = ("en", "de"),
):
    """Line i of a file is the translation of line i of another. Records: {"source", "target"}.

    Args:
      train, validation, test: a path with `{language}` in it, or the pair [source, target].
      languages: what `{language}` stands for: source, then target.
    """
    return ParallelFiles({"train": train, "validation": validation, "test": test}, languages)


class Files:
    """Sources over files. Subclasses read one split's files in `read`."""

    def __init__(self, files):
        self.files = {split: given for split, given in files.items() if given}

    @property
    def splits(self):
        return tuple(self.files)

    def read(self, paths) -> Iterator[Record]:
        raise NotImplementedError

    def options(self):
        """What changes the records, beside the files."""
        return ()

    def paths(self, split):
        if split not in self.files:
            raise UserError(f"no files for the split {split!r}; set {split.upper()}_FILES")
        return expand(self.files[split])

    def records(self, split) -> Iterator[Record]:
        paths = self.paths(split)
        record = None
        for record in self.read(paths):
            yield record
        if record is None:
            raise UserError(f"{describe(paths)}: no record in it, for the {split} split")

    def fingerprint(self, split):
        facts = [type(self).__name__, split, *self.options()]
        for path in self.paths(split):
            status = os.stat(path)
            facts += [os.path.abspath(path), status.st_size, status.st_mtime_ns]
        return " ".join(map(str, facts))

    def check(self):
        for split in self.splits:
            paths = self.paths(split)
            if not any(os.path.getsize(path) for path in paths):
                raise UserError(f"{describe(paths)}: no text in it, for the {split} split")


class DividedFiles(Files):
    """Sources of whose training files a part, without others, is the validation split."""

    def __init__(self, files, validation_fraction, name):
        super().__init__(files)
        if not 0 <= validation_fraction < 1:
            raise UserError(
                f"{name}.validation_fraction = {validation_fraction}: must be from 0 to below 1"
            )
        self.validation_fraction = 0.0 if "validation" in self.files else validation_fraction

    @property
    def splits(self):
        if not self.validation_fraction:
            return super().splits
        return ("train", "validation", *(["test"] if "test" in self.files else []))

    def cuts(self, split):
        """Whether this split is a part of the training files."""
        return bool(self.validation_fraction) and split != "test"

    def paths(self, split):
        return super().paths("train" if self.cuts(split) else split)


class TextFiles(DividedFiles):
    def __init__(self, files, mode, validation_fraction, encoding_errors, keep_blank_lines):
        super().__init__(files, validation_fraction, "text_files")
        if mode not in ("document", "line"):
            raise UserError(f"text_files.mode = {mode!r}: must be 'document' or 'line'")
        if encoding_errors not in ("error", "replace"):
            raise UserError(
                f"text_files.encoding_errors = {encoding_errors!r}: must be 'error' or 'replace'"
            )
        self.mode = mode
        self.encoding_errors = encoding_errors
        self.keep_blank_lines = keep_blank_lines

    def options(self):
        return self.mode, self.validation_fraction, self.encoding_errors, self.keep_blank_lines

    def records(self, split):
        records = self.read(self.paths(split))
        if not self.cuts(split):
            return records
        by_line = self.mode == "line"
        total = sum(1 if by_line else len(record["text"]) for record in records)
        cut = int(total * (1 - self.validation_fraction))
        start, stop = (0, cut) if split == "train" else (cut, total)
        records = self.read(self.paths(split))
        return itertools.islice(records, start, stop) if by_line else cut_out(records, start, stop)

    def read(self, paths):
        for path in paths:
            if self.mode == "line":
                for number, line in lines(path, self.encoding_errors):
                    if line.strip() or self.keep_blank_lines:
                        yield Record({"text": line}, f"{path}:{number}")
            else:
                last = None
                for text in pieces(path, self.encoding_errors):
                    if last is not None:
                        yield Record({"text": last, "continues": True}, path)
                    last = text
                if last is not None:
                    yield Record({"text": last}, path)


class JsonlFiles(Files):
    def read(self, paths):
        for path in paths:
            for number, line in lines(path):
                if not line.strip():
                    continue
                where = f"{path}:{number}"
                try:
                    fields = json.loads(line)
                except json.JSONDecodeError as error:
                    raise UserError(f"{where}: not JSON ({error}); one object a line") from None
                if not isinstance(fields, dict):
                    raise UserError(f"{where}: {line[:40]!r} is no JSON object; write {{...}}")
                yield JsonRecord(fields, where)


class TsvFiles(Files):
    def __init__(self, files, fields):
        super().__init__(files)
        self.fields = fields and list(fields)

    def options(self):
        return (self.fields,)

    def read(self, paths):
        for path in paths:
            names = self.fields
            for number, line in lines(path):
                values = line.split("\t")
                if names is None:
                    names = values
                    continue
                if not line.strip():
                    continue
                if len(values) != len(names):
                    raise UserError(
                        f"{path}:{number}: {len(values)} columns where {len(names)} are named "
                        f"({', '.join(names)}); name them in tsv_files.fields, or table_files.fields"
                    )
                yield Record(zip(names, values, strict=True), f"{path}:{number}")


class ParallelFiles(Files):
    def __init__(self, files, languages):
        if len(languages) != 2:
            raise UserError(f"parallel_files.languages = {languages!r}: must be two names")
        pairs = {}
        for split, given in files.items():
            if isinstance(given, str):
                if "{language}" not in given:
                    raise UserError(
                        f"{given}: write {{language}} where the two files' names differ, "
                        "or give a pair of files"
                    )
                given = [given.replace("{language}", language) for language in languages]
            if given and len(given) != 2:
                raise UserError(f"{given}: a pair of files is needed, [source, target]")
            pairs[split] = given
        super().__init__(pairs)

    def paths(self, split):
        super().paths(split)
        sides = [expand(side) for side in self.files[split]]
        if len(sides[0]) != len(sides[1]):
            raise UserError(
                f"{describe(self.files[split])}: "
                f"{len(sides[0])} and {len(sides[1])} files; each needs its counterpart"
            )
        return [path for pair in zip(*sides, strict=True) for path in pair]

    def read(self, paths):
        for source, target in zip(paths[::2], paths[1::2], strict=True):
            pairs = itertools.zip_longest(lines(source), lines(target))
            for number, pair in enumerate(pairs, 1):
                if None in pair:
                    short, long = (target, source) if pair[1] is None else (source, target)
                    raise UserError(
                        f"{short}: ends at line {number - 1} but {long} goes on; "
                        "parallel files need the same number of lines"
                    )
                texts = [text.strip() for _, text in pair]
                if any(texts):
                    fields = {"source": texts[0], "target": texts[1]}
                    yield Record(fields, f"{source}:{number}")


def cut_out(records, start, stop) -> Iterator[Record]:
    """Characters `start` to `stop` of all the texts."""
    position = 0
    for record in records:
        text = record["text"][max(start - position, 0) : max(stop - position, 0)]
        position += len(record["text"])
        if text:
            continues = record.get("continues", False) and position < stop
            yield Record({"text": text, "continues": continues}, record.where)
        if position >= stop:
            return
