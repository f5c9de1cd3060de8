"""How a weight of the zoo is made of those of a checkpoint, and the other way round."""

from typing import NamedTuple

import numpy as np


class Weight(NamedTuple):
    """A weight of a zoo model.

    Attributes:
      ours: its path.
      theirs: names of the weights that lie in it side by side along its last axis.
      shares: how many of the columns each has.
      transposed: whether theirs are the other way round, as PyTorch's linear layers are.
      added: what ours has more; Gemma keeps gains less 1.
      tokens: whether a row is a token, so that rows change places with the tokens' ids.
      unused: how many rows theirs has before those that are read.
      in_row: whether theirs, a vector, is the only row of a matrix.
      optional: whether checkpoints may lack it: it is zeros then.
    """

    ours: str
    theirs: tuple
    shares: tuple = ()
    transposed: bool = False
    added: float = 0.0
    tokens: bool = False
    unused: int = 0
    in_row: bool = False
    optional: bool = False

    def join(self, arrays):
        """Ours of theirs."""
        arrays = [array[0] if self.in_row else array[self.unused :] for array in arrays]
        arrays = [array.T if self.transposed else array for array in arrays]
        whole = np.concatenate(arrays, axis=-1) if len(arrays) > 1 else arrays[0]
        return whole + whole.dtype.type(self.added) if self.added else whole

    def divide(self, array):
        """Theirs of ours, a list."""
        array = array - array.dtype.type(self.added) if self.added else array
        parts = np.split(array, np.cumsum(self.shares)[:-1], axis=-1) if self.shares else [array]
        parts = [part.T if self.transposed else part for part in parts]
        if self.in_row:
            return [part[None] for part in parts]
        before = [(self.unused, 0)] + [(0, 0)] * (array.ndim - 1)
        return [np.pad(part, before) if self.unused else part for part in parts]

    def their_shapes(self, shape):
        """The shapes that theirs must have, of that of ours."""
        shapes = [(*shape[:-1], share) for share in self.shares or shape[-1:]]
        shapes = [each[::-1] if self.transposed else each for each in shapes]
        if self.in_row:
            return [(1, *each) for each in shapes]
        return [(each[0] + self.unused, *each[1:]) for each in shapes]


def linear(ours, *theirs, shares=(), bias=True, transposed=True):
    """A dense layer's kernel, and its bias."""
    found = [Weight(f"{ours}/kernel", names(theirs, "weight"), shares, transposed)]
    if bias:
        found.append(Weight(f"{ours}/bias", names(theirs, "bias"), shares))
    return found


def layer_norm(ours, theirs):
    return [
        Weight(f"{ours}/gamma", names([theirs], "weight")),
        Weight(f"{ours}/beta", names([theirs], "bias")),
    ]


def rms_norm(ours, theirs, added=0.0):
    return [Weight(f"{ours}/scale", names([theirs], "weight"), added=added)]


def names(layers, name):
    return tuple(f"{layer}.{name}" for layer in layers)


def reordered(table, eos):
    """Rows, of which the first and that of `eos` have changed places."""
    rows = np.arange(len(table))
    rows[[0, eos]] = eos, 0
    return table[rows] if eos else table
