"""Tables of the merges of byte-pair encoding, for looking many pairs up at once."""

import numpy as np


def merge_table(merges, size):
    """What finds a pair among merges by its number, first id times `size` plus second id.

    Args:
      merges: int64 [R, 3], see `BytePairTokenizer.merge_ids`.
      size: number of ids.

    Returns:
      int64 [R + 1] the numbers of the pairs that merge, ascending; int32 [R + 1] the rank of each;
      int32 [R + 1] by rank, what it becomes. The last pair is one that none is, and its rank R.
    """
    pairs = merges[:, 0] * size + merges[:, 1]
    order = np.argsort(pairs)
    # A last number that no pair has keeps the lookup whole where there are no merges.
    pairs = np.append(pairs[order], size * size)
    ranks = np.append(order, len(merges)).astype(np.int32)
    return pairs, ranks, np.append(merges[:, 2], 0).astype(np.int32)


def together(merges, size):
    """Of which merges all that a word has may be done at once.

    The others are those that make a piece which an earlier merge has a use for: that one comes
    between two of them. Of merges that were learned these are few, and of most none.

    Args:
      merges: int64 [R, 3], see `merge_table`.
      size: number of ids.

    Returns:
      bool [R + 1], the last for a pair that none is.
    """
    ranks = np.arange(len(merges))
    used = np.full(size, len(merges))  # the first merge that has a piece as a part
    for side in (0, 1):
        np.minimum.at(used, merges[:, side], ranks)
    return np.append(used[merges[:, 2]] > ranks, False)
