"""Files brought to the disk for good, and their SHA-256, while others are still being written."""

import glob
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

INTERVAL_S = 0.01  # between looks for files that are finished


class Settling:
    """Files that threads bring to the disk and work out the SHA-256 of.

    A file is known by its place on the disk, its size and when it was changed: what was begun early
    counts if the file only got another name since, and is done again if it was changed.
    """

    def __init__(self):
        self.threads = ThreadPoolExecutor()
        self.begun = {}

    @contextmanager
    def early(self, pattern):
        """Begins with files as soon as they are there, in a `with` that writes them.

        Args:
          pattern: of glob; what it finds should be finished, or is settled in vain.
        """
        self.begun.clear()
        over = threading.Event()
        watching = self.threads.submit(self.watch, pattern, over)
        try:
            yield
        finally:
            over.set()
            watching.result()

    def watch(self, pattern, over):
        while not over.wait(INTERVAL_S):
            for path in glob.glob(pattern):
                with suppress(FileNotFoundError):  # it was renamed
                    self.settle(path)

    def settle(self, path):
        """A future of the SHA-256 of a file, which is on the disk then."""
        file = open(path, "rb")  # noqa: SIM115, another thread closes it
        status = os.fstat(file.fileno())
        known = (status.st_ino, status.st_size, status.st_mtime_ns)
        if known in self.begun:
            file.close()
        else:
            self.begun[known] = self.threads.submit(settled, file)
        return self.begun[known]

    def digests(self, paths):
        """[SHA-256 in hexadecimal] of files, which are on the disk then.

        Raises:
          OSError: a file cannot be brought there.
        """
        settling = [self.settle(path) for path in paths]
        return [each.result() for each in settling]


def settled(file):
    with file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(path):
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def synchronise(path):
    """Puts a file or folder on the disk, so that the renaming cannot be there before it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
