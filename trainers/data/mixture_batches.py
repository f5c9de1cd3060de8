"""Batches of several tasks, from a plan of each (see batches.py): `Mixed` to train on,
`OneAfterAnother` to evaluate. A batch is a pure function of its step here as there."""

import dataclasses

import numpy as np

from trainers.data.batches import Contiguous, Plan
from trainers.data.subword_sampling import Alternating
from trainers.errors import UserError

COUNTS = ("tokens", "examples", "target_tokens", "target_bytes", "target_words")


@dataclasses.dataclass(frozen=True)
class Counted:
    """What is known of several stores together; `meta` has their counts, and theirs in "parts"."""

    meta: dict


class Combined(Plan):
    """What the two share: they have the shapes and sizes of their plans.

    Args:
      plans: {name: Plan}, which differ in their store alone.
    """

    def __init__(self, plans):
        self.plans = plans
        first = next(iter(plans.values()))
        super().__init__(
            None,
            first.batch_size,
            first.sequence_length,
            first.seed,
            first.source_length,
            first.training,
        )
        self.evaluation_stride = first.evaluation_stride

    @property
    def feature_shapes(self):
        return next(iter(self.plans.values())).feature_shapes

    def counted(self, times):
        """The store of the counts. `times`: {name: how often a task is read in an epoch}."""
        parts = {name: plan.store.meta for name, plan in self.plans.items()}
        first = next(iter(parts.values()))
        counts = {
            count: round(sum(times[name] * meta[count] for name, meta in parts.items()))
            for count in COUNTS
        }
        return Counted({"kind": first["kind"], "split": first["split"], **counts, "parts": parts})


class Mixed(Combined):
    """Rows of the tasks by turns, in training.

    An epoch has as many turns as the tasks' own epochs have together. How many of them a task has
    is fixed by its rate, and which ones is drawn anew for every epoch; a task that has had all of
    its rows begins its own next epoch. A turn is a row, or a batch where a batch's rows must be of
    one shape.

    Args:
      plans: {name: Plan}.
      rates: {name: float}, the tasks' shares of the examples.
    """

    def __init__(self, plans, rates):
        super().__init__(plans)
        for name, plan in plans.items():
            if isinstance(plan, Contiguous):
                raise UserError(
                    f"task {name!r} of the mixture: rows of contiguous batches go on from batch to "
                    "batch, which those of a mixture cannot; choose packed, bucketed or windows"
                )
            if isinstance(plan, Alternating):
                raise UserError(
                    "Experiment.subword_sampling is not there for a mixture; leave one of them out"
                )
        self.rows_together = max(plan.rows_together for plan in plans.values())
        own = np.array([plan.rows_per_epoch // self.rows_together for plan in plans.values()])
        examples = np.array([plan.store.meta["examples"] for plan in plans.values()])
        rates = np.array([rates[name] for name in plans])
        self.turns = apportioned(own.sum(), rates * own / examples)
        self.ends = np.cumsum(self.turns)
        self.rows_per_epoch = int(self.ends[-1]) * self.rows_together
        self.store = self.counted(dict(zip(plans, self.turns / own, strict=True)))

    def at(self, index):
        turn, within = np.divmod(index, self.rows_together)
        task, own_turn = self.whose(turn)
        own_index = own_turn * self.rows_together + within
        features = {}
        for number, plan in enumerate(self.plans.values()):
            chosen = np.flatnonzero(task == number)
            if not len(chosen):
                continue
            for name, feature in plan.at(own_index[chosen]).items():
                if name not in features:
                    features[name] = np.empty((len(index), *feature.shape[1:]), feature.dtype)
                features[name][chosen] = feature
        return features

    def whose(self, turn):
        """(number of the task, its own turn), both [B], of turns [B] of the endless list."""
        epoch, place = np.divmod(turn, self.ends[-1])
        place = self.shuffled(place, epoch, self.ends[-1])
        task = np.searchsorted(self.ends, place, "right")
        begin = self.ends[task] - self.turns[task]
        return task, epoch * self.turns[task] + place - begin


class OneAfterAnother(Combined):
    """The batches of one task, then those of the next: each token once, and no batch of two tasks."""

    def __init__(self, plans):
        super().__init__(plans)
        self.lasts = np.cumsum([plan.steps_per_epoch for plan in plans.values()])
        self.rows_per_epoch = int(self.lasts[-1]) * self.batch_size
        self.store = self.counted(dict.fromkeys(plans, 1))

    @property
    def parts(self):
        firsts = [0, *self.lasts[:-1]]
        return {
            name: (int(first), int(last))
            for name, first, last in zip(self.plans, firsts, self.lasts, strict=True)
        }

    def batch(self, step, shard=0, num_shards=1):
        number = min(int(np.searchsorted(self.lasts, step, "right")), len(self.plans) - 1)
        name = list(self.plans)[number]
        return self.plans[name].batch(step - self.parts[name][0], shard, num_shards)


def apportioned(total, weights):
    """int64 [N] that make `total`, in proportion to `weights` [N], but 1 at the least."""
    exact = total * weights / weights.sum()
    parts = np.floor(exact).astype(np.int64)
    largest_rest = np.argsort(parts - exact, kind="stable")
    parts[largest_rest[: total - parts.sum()]] += 1
    return np.maximum(parts, 1)
