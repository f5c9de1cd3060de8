"""The batch plan of preferences: a row is a pair, an answer that was chosen and one that was rejected.

So a pair never leaves its replica and its micro-batch, and a step's sums are over whole pairs.
"""

import gin
import numpy as np

from trainers.data.batches import Plan, features_of
from trainers.data.example_batches import ExamplePlan


@gin.configurable
def pairs(
    store,
    batch_size: int,
    sequence_length: int,
    seed: int = 0,
    source_length: int | None = None,
    training: bool = True,
) -> Plan:
    """Rows of the two examples of a pair, the better one first.

    Args:
      store, batch_size, seed, training: see batches.Plan.
      sequence_length, source_length: of either example; a row has twice as many tokens.
    """
    return Pairs(store, batch_size, sequence_length, seed, source_length, training)


class Pairs(ExamplePlan):
    """Rows whose segment 1 is the chosen answer, with its prompt, and 2 the rejected one.

    Attributes:
      reference: float32 [R, 2], the log-probabilities of a reference model for the answers of each
        pair, which `batch` then has as a feature of this name; None where they are not known yet.
    """

    of_pairs = True

    def __init__(self, *args):
        super().__init__(*args)
        self.rows_per_epoch = len(self.starts) // 2
        self.reference = None
        self.sequence_length *= 2
        if self.source_length:
            self.source_length *= 2

    @property
    def feature_shapes(self):
        shapes = features_of(self.sequence_length, self.source_length)
        return shapes if self.reference is None else shapes | {"reference": ("float32", (2,))}

    def rows(self, epoch, row, real):
        row = self.shuffled(np.where(real, row, 0), epoch, self.rows_per_epoch)
        features = super().rows(epoch, row, real)
        if self.reference is not None:
            features["reference"] = np.where(real[:, None], self.reference[row], np.float32(0))
        return features

    def items_of(self, epoch, row, real):
        return 2 * row, 2 * (row + real), self.sequence_length, self.source_length
