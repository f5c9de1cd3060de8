"""Records in files of rows: TSV, or JSON lines where a file's name says so."""

from collections.abc import Sequence

import gin

from trainers.data.sources import Files, JsonlFiles, TsvFiles


@gin.configurable
def table_files(
    train: Sequence[str] | str,
    validation: Sequence[str] | str | None = None,
    test: Sequence[str] | str | None = None,
    fields: Sequence[str] = ("text", "label"),
):
    """JSON lines in files named `.jsonl`, else fields with a tab between them.

    Args:
      train, validation, test: files.
      fields: names of the columns of TSV files, whose first line may repeat them.
    """
    return TableFiles({"train": train, "validation": validation, "test": test}, fields)


class TableFiles(Files):
    def __init__(self, files, fields):
        super().__init__(files)
        self.fields = list(fields)
        self.jsonl = JsonlFiles({})
        self.tsv = TsvFiles({}, fields)

    def options(self):
        return (self.fields,)

    def read(self, paths):
        for path in paths:
            is_jsonl = path.removesuffix(".gz").endswith(".jsonl")
            for record in (self.jsonl if is_jsonl else self.tsv).read([path]):
                if list(record.values()) != self.fields:
                    yield record
