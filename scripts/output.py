"""A file that a script writes: it is whole, or as it was before."""

import contextlib
import os


@contextlib.contextmanager
def whole_file(path):
    """A file to write that takes its place when it is complete, and not at all after an error.

    It is opened before the work whose results it is for, so that a path that cannot be is found
    before that.

    Raises:
      OSError: there is no such folder, or something else than a file at `path`.
    """
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{path}: is no file")
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(partial, "w", encoding="utf-8") as file:
            yield file
        os.replace(partial, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(partial)
