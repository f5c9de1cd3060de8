"""Records in files that are one JSON list, as many sets of dialogues and instructions are."""

import json
from collections.abc import Sequence

import gin

from trainers.data.files import pieces
from trainers.data.sources import Files, JsonRecord
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
    if not 0 <= validation_fraction < 1:
        raise UserError(
            f"json_lists.validation_fraction = {validation_fraction}: must be from 0 to below 1"
        )
    files = {"train": train, "validation": validation, "test": test}
    return JsonLists(files, 0.0 if validation else validation_fraction)


class JsonLists(Files):
    def __init__(self, files, validation_fraction):
        super().__init__(files)
        self.validation_fraction = validation_fraction
        if validation_fraction:
            self.files["validation"] = self.files["train"]

    def options(self):
        return (self.validation_fraction,)

    def records(self, split):
        for path in self.paths(split):
            listed = read_list(path)
            first, last = 0, len(listed)
            if self.validation_fraction and split != "test":
                cut = int(len(listed) * (1 - self.validation_fraction))
                first, last = (0, cut) if split == "train" else (cut, last)
            for i in range(first, last):
                where = f"{path}, record {i + 1}"
                if not isinstance(listed[i], dict):
                    raise UserError(f"{where}: must be an object, {{...}}")
                yield JsonRecord(listed[i], where)


def read_list(path):
    try:
        listed = json.loads("".join(pieces(path)))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    if not isinstance(listed, list):
        raise UserError(f"{path}: must be one JSON list; JSON lines are for jsonl_files")
    return listed
