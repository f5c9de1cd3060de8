"""Imports TensorFlow: without the notes its libraries write while they load, and so that
memory is not given back to the system between two steps.

TF_CPP_MIN_LOG_LEVEL does not reach them (tensorflow#100442). Warnings and errors stay, but
for that of a missing GPU where there is none.
"""

import contextlib
import ctypes
import glob
import os
import sys
import tempfile

# Of <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8


def import_tensorflow():
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keep_freed_memory()
    with filtered_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()  # where it looks for a GPU


def keep_freed_memory():
    """Lets glibc's malloc reuse large blocks instead of unmapping them.

    A step allocates the same logits and activations again and again; the system would
    fill them with zeros at first touch each time, which takes up to a third of a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        largest = 2**31 - 1
        for setting, value in (
            (M_ARENA_MAX, 1),  # only the main arena's heap grows without bound
            (M_MMAP_MAX, 0),
            (M_TRIM_THRESHOLD, largest),
            (M_TOP_PAD, 64 << 20),
        ):
            mallopt(setting, value)


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
