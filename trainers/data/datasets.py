"""Sources by name, read through TensorFlow Datasets (TFDS); the Python standard library is one."""

import os
import sys
import sysconfig

import gin

from trainers.data.files import locked
from trainers.data.sources import Record
from trainers.errors import UserError


@gin.configurable
def tfds_dataset(
    name: str,
    train: str | None = "train",
    validation: str | None = None,
    test: str | None = None,
    data_dir: str | None = None,
):
    """A data set of TFDS, downloaded and prepared where it is not yet.

    Args:
      name: as `tfds.builder` takes it; "imdb_reviews/plain_text:1.0.0" pins a version.
      train, validation, test: what each split reads, as in "train[:90%]".
      data_dir: where TFDS keeps its data; None for its own default.
    """
    reads = {"train": train, "validation": validation, "test": test}
    return TfdsDataset(name, {split: read for split, read in reads.items() if read}, data_dir)


@gin.configurable
def python_stdlib(data_dir: str | None = None):
    """The running interpreter's own standard library. Records: {"text": str, "path": str}.

    Args:
      data_dir: where TFDS keeps its data; None for its own default.
    """
    return PythonStdlibDataset(data_dir)


class TfdsDataset:
    def __init__(self, name, reads, data_dir=None):
        self.name = name
        self.reads = reads
        self.data_dir = data_dir and os.path.expanduser(data_dir)

    @property
    def splits(self):
        return tuple(self.reads)

    def builder(self):
        import tensorflow_datasets as tfds

        return tfds.builder(self.name, data_dir=self.data_dir)

    def records(self, split):
        import tensorflow_datasets as tfds

        read = self.reads[split]
        try:
            builder = self.builder()
            prepare(builder)
            if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
                examples = builder.as_data_source(split=read)
            else:
                examples = tfds.as_numpy(builder.as_dataset(split=read))
        except (OSError, ValueError, AssertionError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"data set {self.name!r} of TensorFlow Datasets: {reason}") from error
        for number, fields in enumerate(examples):
            yield Record(plain(fields), f"{self.name}, split {read}, record {number}")

    def fingerprint(self, split):
        return f"tfds {self.name} {self.reads[split]} {self.data_dir}"

    def check(self):
        """Nothing can be seen without a heavy import."""


class PythonStdlibDataset(TfdsDataset):
    def __init__(self, data_dir):
        super().__init__("python_stdlib", {"train": "train", "validation": "validation"}, data_dir)

    def builder(self):
        from trainers.data.python_stdlib import PythonStdlib

        # The one format that is read without TensorFlow: it is there in a tenth of a second.
        return PythonStdlib(data_dir=self.data_dir, file_format="array_record")

    def fingerprint(self, split):
        return f"python_stdlib {split} {sys.version} {sysconfig.get_path('stdlib')}"


def prepare(builder):
    """Downloads and prepares a data set, in one of the processes that ask for it."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    os.makedirs(os.path.dirname(builder.data_dir), exist_ok=True)
    with locked(f"{builder.data_dir}.lock"):
        builder.download_and_prepare()


def plain(value):
    """numpy values of TFDS as Python's; its texts are bytes."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, list):
        return [plain(item) for item in value]
    return plain(value.tolist()) if hasattr(value, "tolist") else value
