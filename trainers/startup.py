"""Imports TensorFlow: with memory that is used again, and without chatter.

TF_CPP_MIN_LOG_LEVEL does not reach the notes its libraries write while they load
(tensorflow#100442). Warnings and errors stay, but for that of a missing GPU where there is none.
"""

import contextlib
import glob
import os
import sys
import tempfile
import time

BEGAN = time.monotonic()  # of the process, nearly: this is among the first to be imported


def import_tensorflow():
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keep_memory()
    with filtered_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()  # where it looks for a GPU


def keep_memory():
    """Has TensorFlow keep a CPU's freed memory in a pool of its own, as it does a GPU's.

    malloc gives large blocks back to the system, which fills them with zeros at first touch
    in every step: a third of a step of a small model.
    """
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    megabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(megabytes))


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
    # SentencePiece's notes, and TensorFlow's of the kernels that a processor has not.
    note = "LOG(INFO)" in line or "oneDNN supports" in line
    return no_gpu or note or line.startswith(("I0000", "WARNING: All log messages before absl"))
