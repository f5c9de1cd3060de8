"""What to do when a loss or a gradient is no number, or a loss leaps: back, around those batches."""

import gin
import numpy as np

from trainers.data.pipeline import batch_of


@gin.configurable
class Recovery:
    """Decides when training goes back, and keeps count (as Chowdhery et al. 2022, section 5.1).

    It does where a loss or a gradient's norm is not finite, and where a loss leaps. The loss scale of
    "mixed_float16" deals with gradients itself.

    The batches left out are those from the first step that went wrong to the end of its
    report; the steps before it are taken again, on the batches they had.

    Args:
      max_rollbacks: how often a run may go back; 0 to stop at the first.
      max_leap: nats by which the loss of a step may exceed the mean of the report before; None
        for as many as it likes.

    Attributes, all kept in checkpoints:
      rollbacks: how often it went back.
      skipped: [first, last] batches left out, ascending.
    """

    def __init__(self, max_rollbacks: int = 3, max_leap: float | None = None):
        self.max_rollbacks = max_rollbacks
        self.max_leap = max_leap
        self.restore({})

    def state(self):
        return {"rollbacks": self.rollbacks, "skipped": self.skipped}

    def restore(self, state):
        self.rollbacks = state.get("rollbacks", 0)
        self.skipped = [list(batches) for batches in state.get("skipped", [])]

    def first_fault(self, results, scaled, level=None):
        """Index of the first step that went wrong, or None.

        Args:
          results: float32 [N, ...], see TrainStep.run.
          scaled: whether a gradient that is not finite has been dealt with; see loss_scale.py.
          level: mean loss of the report before, if there was one.
        """
        loss = results[:, 0] / np.maximum(results[:, 1], 1.0)
        wrong = ~np.isfinite(loss)
        if not scaled:
            wrong |= ~np.isfinite(results[:, 2])
        if self.max_leap is not None and level is not None:
            wrong |= loss > level + self.max_leap
        return int(np.argmax(wrong)) if wrong.any() else None

    def skip(self, first, last):
        """Leaves out the batches that steps `first` to `last` had; returns [first, last] of them."""
        first, last = (batch_of(step, self.skipped) for step in (first, last))
        # Ranges that an earlier one lies within are part of this one now.
        kept = [each for each in self.skipped if not first <= each[0] <= last]
        self.skipped = sorted([*kept, [first, last]])
        self.rollbacks += 1
        return [first, last]

    @property
    def is_spent(self):
        return self.rollbacks >= self.max_rollbacks


def fault_of(result, scaled):
    """{name: number} of the loss of a step that went wrong, and of its gradient where that is why.

    Args:
      result: float32 [...], a row of what `first_fault` was given.
      scaled: as there.
    """
    loss, norm = float(result[0] / max(result[1], 1.0)), float(result[2])
    by_gradient = np.isfinite(loss) and not np.isfinite(norm) and not scaled
    return {"loss": loss, "gradient_norm": norm} if by_gradient else {"loss": loss}


def told(event):
    """What went wrong, as a message says it."""
    if "gradient_norm" in event:
        return (
            f"the loss is {event['loss']:.6g}, but its gradient's norm {event['gradient_norm']:.6g}"
        )
    return f"the loss is {event['loss']:.6g}"
