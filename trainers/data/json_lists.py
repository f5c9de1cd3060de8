"""Records in files that are one JSON list, as many sets of dialogues and instructions are."""

import json
from collections.abc import Sequence

import gin

from trainers.data.files import describe, pieces
from trainers.data.sources import DividedFiles, JsonRecord
from trainers.errors import UserError


@gin.configurable
def json_lists(
    train: Sequence[str] | str,
    validation: Sequence[str] | str | None = None,
    test: Sequence[str] | str | None = None,
    validation_fraction: float = 0.0,
):
    """Files of one JSON list of objects each, whose fields are the records'.

    A file is read whole: memory grows with the largest. JSON lines (`jsonl_files`) have no limit.

    Args:
      train, validation, test: files.
      validation_fraction: without `validation`, this part of the training records, the last of
        each file, is the validation split.

    Raises:
      UserError: a fraction that is none.
    """
    files = {"train": train, "validation": validation, "test": test}
    return JsonLists(files, validation_fraction, "json_lists")


class JsonLists(DividedFiles):
    def options(self):
        return (self.validation_fraction,)

    def records(self, split):
        paths, empty = self.paths(split), True
        for path in paths:
            listed = read_list(path)
            first, last = 0, len(listed)
            if self.cuts(split):
                cut = int(len(listed) * (1 - self.validation_fraction))
                first, last = (0, cut) if split == "train" else (cut, last)
            for i in range(first, last):
                where = f"{path}, record {i + 1}"
                if not isinstance(listed[i], dict):
                    raise UserError(f"{where}: must be an object, {{...}}")
                yield JsonRecord(listed[i], where)
                empty = False
        if empty and self.cuts(split):
            raise UserError(
                f"{describe(paths)}: too few records in each to hold one out; give "
                "VALIDATION_FILES, or set json_lists.validation_fraction = 0.0"
            )


def read_list(path):
    try:
        listed = json.loads("".join(pieces(path)))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    if not isinstance(listed, list):
        raise UserError(f"{path}: must be one JSON list; JSON lines are for jsonl_files")
    return listed
