"""Imports TensorFlow without the notes its libraries write while they load.

TF_CPP_MIN_LOG_LEVEL does not reach them (tensorflow#100442). Warnings and errors stay, but
for that of a missing GPU where there is none.
"""

import contextlib
import glob
import os
import sys
import tempfile


def import_tensorflow():
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with filtered_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()  # where it looks for a GPU


@contextlib.contextmanager
def filtered_stderr():
    """Holds back what is written to file descriptor 2, then writes the lines worth reading."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile("w+", errors="replace") as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            sys.stderr.writelines(line for line in held if not is_chatter(line))


def is_chatter(line):
    no_gpu = "cuInit" in line and not glob.glob("/dev/nvidia*")
    return no_gpu or line.startswith(("I0000", "WARNING: All log messages before absl"))
