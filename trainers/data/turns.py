"""Conversations in rows: whole where they fit, else divided between turns."""

import numpy as np

BLOCK = 1 << 24


def pieces(learned, offsets, length):
    """The pieces of conversations that rows hold.

    A conversation that is longer than a row is divided behind answers, into as few pieces as
    go in order. A question and its answer that are longer together than a row lose the question's
    beginning, and an answer that would then fill more than half of the row its end.

    Args:
      learned: uint8 [M], 1 for the tokens of answers; an example ends with one.
      offsets: int64 [N + 1], where each example starts.
      length: T, tokens of a row.

    Returns:
      starts, targets, lengths: int64 [I], where each piece starts, where its first answer does,
        and how many tokens it has.
      cut: bool [N], of the examples that lose something.
    """
    begins, answers, ends = exchanges(learned, offsets)
    # What is longer than a row is cut before any are put together.
    kept_answers = np.minimum(
        ends - answers, np.maximum(length - (answers - begins), (length + 1) // 2)
    )
    kept_given = np.minimum(answers - begins, length - kept_answers)
    whole = ends - begins <= length
    example = np.searchsorted(offsets, begins, "right") - 1
    begins, ends = answers - kept_given, answers + kept_answers
    fits = (np.diff(offsets) <= length)[example]
    first = np.append(True, example[1:] != example[:-1])
    for i in np.flatnonzero(~fits & ~first):
        if first[i - 1]:
            start = begins[i - 1]
        first[i] = not (whole[i] and whole[i - 1] and ends[i] - start <= length)
    heads = np.flatnonzero(first)
    tails = np.append(heads[1:], len(first)) - 1
    cut = np.zeros(len(offsets) - 1, bool)
    cut[example[~whole]] = True
    return begins[heads], answers[heads], ends[tails] - begins[heads], cut


def exchanges(learned, offsets):
    """(begins, answers, ends), int64 [E]: what is given, and the answer to it, in order."""
    rises, falls = [], []
    for block in range(0, len(learned), BLOCK):
        change = np.diff(learned[block : block + BLOCK + 1].astype(np.int8))
        rises.append(np.flatnonzero(change > 0) + block + 1)
        falls.append(np.flatnonzero(change < 0) + block + 1)
    ends = np.unique(np.concatenate([*falls, offsets[1:]]))
    begins = np.append(0, ends[:-1])
    rises = np.append(np.concatenate(rises), len(learned))
    answers = np.where(learned[begins], begins, rises[np.searchsorted(rises, begins)])
    return begins, answers, ends
