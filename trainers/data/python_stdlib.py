"""TFDS builder of the Python standard library's source: text that every machine has.

What is read is the library of the running interpreter, without its tests and without
what was installed into it. No network is used.
"""

import hashlib
import os
import sys
import sysconfig
import tokenize
from typing import ClassVar

import tensorflow_datasets as tfds

SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
VALIDATION_PERCENT = 5


class PythonStdlib(tfds.core.GeneratorBasedBuilder):
    """Modules of the standard library, split by a hash of their paths."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="{}.{}.{}".format(*sys.version_info))]

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {"text": tfds.features.Text(), "path": tfds.features.Text()}
            ),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in ("train", "validation")}

    def _generate_examples(self, split):
        library = sysconfig.get_path("stdlib")
        for path in module_paths(library):
            if split_of(path) == split:
                # As the interpreter reads it: the encoding may be named in the file.
                with tokenize.open(os.path.join(library, path)) as file:
                    yield path, {"text": file.read(), "path": path}


def module_paths(library):
    for folder, folders, files in os.walk(library):
        folders[:] = sorted(set(folders) - SKIPPED)
        for file in sorted(files):
            if file.endswith(".py"):
                yield os.path.relpath(os.path.join(folder, file), library)


def split_of(path):
    """A module stays in its split, whatever is added to the library."""
    number = int(hashlib.sha256(path.encode()).hexdigest(), 16)
    return "validation" if number % 100 < VALIDATION_PERCENT else "train"
