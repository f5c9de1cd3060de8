"""State that outlives a step, in variables of which each replica has its own copy."""

import numpy as np
import tensorflow as tf


class CarriedState:
    """What a recurrent model hands from step to step.

    Each replica keeps the state of its own rows. `get` and `set` speak of all rows
    of the global batch, in order, so that a checkpoint fits any number of replicas.

    Args:
      model: a LanguageModel.
      rows: of a replica.
      strategy: tf.distribute.Strategy.
    """

    def __init__(self, model, rows, strategy):
        self.strategy = strategy
        self.template = model.initial_state(rows)
        self.variables = copies_of_replicas(tf.nest.flatten(self.template), strategy)

    def read(self):
        return tf.nest.pack_sequence_as(self.template, [v.read_value() for v in self.variables])

    def write(self, state):
        for variable, value in zip(self.variables, tf.nest.flatten(state), strict=True):
            variable.assign(value)

    def reset(self):
        """All zeros, as before the first token."""
        self.set([np.zeros_like(array) for array in self.get()])

    def get(self):
        """numpy arrays [global rows, ...], one a variable."""
        replicas = [self.strategy.experimental_local_results(v) for v in self.variables]
        return [np.concatenate([part.numpy() for part in parts]) for parts in replicas]

    def set(self, arrays):
        for variable, array in zip(self.variables, arrays, strict=True):
            parts = self.strategy.experimental_local_results(variable)
            for part, rows in zip(parts, np.split(array, len(parts)), strict=True):
                part.assign(rows)


def copies_of_replicas(tensors, strategy):
    """Variables that start as `tensors`, of which each replica reads and writes its own copy."""
    with strategy.scope():
        return [
            tf.Variable(
                tensor,
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for tensor in tensors
        ]
