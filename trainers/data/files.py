"""Text files of any size: globs, gzip, UTF-8, lines, pieces of bounded size; and file locks."""

import codecs
import contextlib
import fcntl
import glob
import gzip
import os
import zlib
from collections.abc import Iterator, Sequence

from trainers.errors import UserError

PIECE_BYTES = 1 << 20


def expand(files: Sequence[str] | str) -> list[str]:
    """The paths that a path, a glob or a list of them stands for, sorted, each once."""
    found = set()
    for pattern in [files] if isinstance(files, str) else files:
        pattern = os.path.expanduser(pattern)
        matches = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
        matches = [path for path in matches if os.path.isfile(path)]
        if not matches:
            raise UserError(f"{pattern}: no such file; give a path or a glob that matches one")
        found.update(matches)
    return sorted(found)


def describe(files: Sequence[str] | str) -> str:
    return files if isinstance(files, str) else ", ".join(map(describe, files))


def pieces(path: str, errors: str | None = None) -> Iterator[str]:
    """The text of a file, about 1 MiB at a time, cut at line ends wherever there are any.

    Args:
      path: of UTF-8 text, with a byte-order mark or without; `.gz` is unpacked.
      errors: "error" or "replace", what is done about bytes that are not UTF-8; None for "error"
        where no setting says so.

    Raises:
      UserError: naming the line.
    """
    make_decoder = codecs.getincrementaldecoder("utf-8-sig")
    decoder = make_decoder("replace" if errors == "replace" else "strict")
    mend = ", or set text_files.encoding_errors = 'replace'" if errors else ""
    rest, line = "", 1
    with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as file:
        final = False
        while not final:
            try:
                block = file.read(PIECE_BYTES)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise UserError(
                    f"{path}: is no whole gzip file ({error}); make it again, or name it without .gz"
                ) from None
            final = len(block) < PIECE_BYTES
            text = rest + decode(decoder, block, final, path, line, mend)
            end = len(text) if final else text.rfind("\n") + 1 or len(text)
            if end:
                yield text[:end]
            line += text.count("\n")
            rest = text[end:]


def decode(decoder, block, final, path, line, mend):
    try:
        return decoder.decode(block, final)
    except UnicodeDecodeError as error:
        line += error.object[: error.start].count(b"\n")
        raise UserError(
            f"{path}:{line}: byte {error.object[error.start]:#04x} is not UTF-8; convert the file{mend}"
        ) from None


def lines(path: str, errors: str | None = None) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end) of each line of a file."""
    number, rest = 0, ""
    for text in pieces(path, errors):
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            number += 1
            yield number, line.removesuffix("\r")
    if rest:
        yield number + 1, rest.removesuffix("\r")


@contextlib.contextmanager
def locked(path):
    """Holds a lock among processes; it goes with the process that holds it."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
