"""Feeds batches to the train step: from any step on, around those that were left out."""

import sys

import numpy as np
import tensorflow as tf

from trainers.data.pipeline import dataset


class Feed:
    """Runs a train step on the batches that are its turn.

    Args:
      step: TrainStep, whose first run compiles it.
      plan: see data/batches.py.
      now: step to begin with.
      skipped: see data/pipeline.py.
    """

    def __init__(self, step, plan, now, skipped):
        self.step = step
        self.plan = plan
        self.compiled = False
        self.begin(now, skipped)

    def begin(self, now, skipped):
        """Makes step `now` the next."""
        self.batches = dataset(self.plan, now, strategy=self.step.strategy, skipped=skipped)
        self.iterator = None

    def run(self, count, throughput):
        """`count` steps, timed without the very first; float32 [count, ...] as of TrainStep.run."""
        results = []
        if self.iterator is None:
            self.iterator = iter(self.batches)
        if not self.compiled:
            results.append(self.compiling_step())
            count -= 1
        if count:
            results.append(throughput.measure(lambda: self.step.run(self.iterator, count)))
        return np.concatenate(results)

    def compiling_step(self):
        """One step, with XLA if it can be."""
        self.compiled = True
        try:
            return self.step.run(self.iterator, 1)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if not self.step.xla:
                raise
            reason = str(error).strip().split("\n")[0]
            print(f"XLA cannot compile this step, so it runs without: {reason}", file=sys.stderr)
            self.step.compile(xla=False)
            self.iterator = iter(self.batches)
            return self.step.run(self.iterator, 1)
