"""A random order of any size, one index at a time, with nothing kept in memory."""

import numpy as np

ROUNDS = 4


def shuffled(index, size, seed):
    """The image of each index under a random permutation of range(size).

    A Feistel network over the least even number of bits that holds `size`; an image
    past the end is sent through again until it lies within (Black and Rogaway 2002).

    Args:
      index: int [N], from 0 to below `size`.
      size: int.
      seed: int or int [N]; each gives a permutation of its own.

    Returns:
      int64 [N].
    """
    half = np.uint64(max((int(size) - 1).bit_length() + 1, 2) // 2)
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = mixed(np.broadcast_to(np.asarray(seed), np.shape(index)).astype(np.uint64))
    result = np.asarray(index).astype(np.uint64)
    todo = np.arange(len(result))
    while len(todo):
        left, right = result[todo] >> half, result[todo] & mask
        for turn in range(ROUNDS):
            code = mixed(right + keys[todo] + np.uint64(turn << 56))
            left, right = right, left ^ (code & mask)
        result[todo] = left << half | right
        todo = todo[result[todo] >= size]
    return result.astype(np.int64)


def mixed(x):
    """uint64 to uint64, every bit depending on every bit (SplitMix64's finalizer)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
