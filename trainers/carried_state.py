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
        self.rows = rows
        self.template = model.initial_state(rows)
        self.variables = copies_of_replicas(tf.nest.flatten(self.template), strategy)
        self._assign_rows = tf.function(self.assign_rows, autograph=False)
        self._gather = tf.function(self.gather, autograph=False)

    def read(self):
        return tf.nest.pack_sequence_as(self.template, [v.read_value() for v in self.variables])

    def write(self, state):
        for variable, value in zip(self.variables, tf.nest.flatten(state), strict=True):
            variable.assign(value)

    def reset(self):
        """All zeros, as before the first token."""
        rows = self.rows * self.strategy.num_replicas_in_sync
        self.set([np.zeros((rows, *v.shape[1:]), v.dtype.as_numpy_dtype) for v in self.variables])

    def get(self):
        """numpy arrays [global rows, ...], one a variable; every worker must ask."""
        return [rows.numpy() for rows in self._gather()]

    def gather(self):
        values = self.strategy.run(lambda: [v.read_value() for v in self.variables])
        return [self.strategy.gather(value, axis=0) for value in values]

    def set(self, arrays):
        self._assign_rows([tf.constant(array) for array in arrays])

    def assign_rows(self, arrays):
        def assign():
            first = self.rows * tf.distribute.get_replica_context().replica_id_in_sync_group
            for variable, array in zip(self.variables, arrays, strict=True):
                variable.assign(array[first : first + self.rows])

        self.strategy.run(assign)


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
