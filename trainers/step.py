"""The one train step: exact under every strategy, with accumulation, compiled by XLA.

1. In each replica, an inner function sums token losses, weights and the gradient of the
   summed loss; micro-batches add to these sums.
2. One all-reduce of the sums; the gradient is divided by the global weight.
3. Clipping by global norm, once, after the reduction; then the optimizer.

On a single replica all of it is one XLA program; on several, XLA compiles part 1.
"""

import keras
import tensorflow as tf

from zoo.layers.dropout import step_seed


class CarriedState:
    """What a recurrent model hands from step to step: variables, one copy a replica.

    Each replica keeps the state of its own rows. `get` and `set` speak of all rows
    of the global batch, in order, so that a checkpoint fits any number of replicas.
    """

    def __init__(self, model, rows, strategy):
        self.strategy = strategy
        self.template = model.initial_state(rows)
        with strategy.scope():
            self.variables = [
                tf.Variable(
                    tensor, trainable=False, synchronization=tf.VariableSynchronization.ON_READ
                )
                for tensor in tf.nest.flatten(self.template)
            ]

    def read(self):
        return tf.nest.pack_sequence_as(self.template, [v.read_value() for v in self.variables])

    def write(self, state):
        for variable, value in zip(self.variables, tf.nest.flatten(state), strict=True):
            variable.assign(value)

    def get(self):
        """numpy arrays [global rows, ...], one a variable."""
        locals_of = self.strategy.experimental_local_results
        return [
            tf.concat([tf.identity(p) for p in locals_of(v)], 0).numpy() for v in self.variables
        ]

    def set(self, arrays):
        for variable, array in zip(self.variables, arrays, strict=True):
            parts = self.strategy.experimental_local_results(variable)
            for part, rows in zip(parts, tf.split(array, len(parts)), strict=True):
                part.assign(rows)


class TrainStep:
    """Runs optimizer steps over an iterator of batches.

    Args:
      model: a LanguageModel.
      optimizer: from `optimizers.prepare`.
      objective: see losses.CrossEntropy.
      strategy: the tf.distribute.Strategy whose scope made model and optimizer.
      rows: rows of the global batch.
      accumulation: micro-batches a step; divides the rows of a replica.
      clip_norm: largest global gradient norm; 0 for no clipping.
      ema_decay: of a moving average of the weights (Polyak and Juditsky 1992); 0 for none.
      seed: of dropout.
      xla: compile with XLA.
    """

    def __init__(
        self,
        model,
        optimizer,
        objective,
        strategy,
        rows,
        accumulation=1,
        clip_norm=0.0,
        ema_decay=0.0,
        seed=0,
        xla=True,
    ):
        self.model = model
        self.optimizer = optimizer
        self.objective = objective
        self.strategy = strategy
        self.accumulation = accumulation
        self.clip_norm = clip_norm
        self.ema_decay = ema_decay
        self.seed = seed
        self.replicas = strategy.num_replicas_in_sync
        self.carried = CarriedState(model, rows // self.replicas, strategy)
        self.averages = []
        if ema_decay:
            with strategy.scope():
                self.averages = [
                    tf.Variable(v.value, trainable=False) for v in model.trainable_variables
                ]
        self.compile(xla)

    def compile(self, xla):
        """Makes the functions anew, with XLA or without."""
        self.xla = xla
        alone = self.replicas == 1
        self._sums = tf.function(self.sums_of_batch, jit_compile=xla and not alone)
        self._step = tf.function(self.step_of_replica, jit_compile=xla) if alone else None
        self._loop = tf.function(self.loop)

    def run(self, iterator, count):
        """`count` steps.

        Returns:
          float32 numpy [count, 3]: summed loss in nats, summed weight, gradient norm, a step.
        """
        return self._loop(iterator, tf.constant(count)).numpy()

    def loop(self, iterator, count):
        results = tf.TensorArray("float32", count, element_shape=(3,))
        for i in tf.range(count):
            step = self._step or self.step_of_replica
            result = self.strategy.run(step, args=(next(iterator),))
            results = results.write(i, self.strategy.experimental_local_results(result)[0])
            self.update_averages()
        return results.stack()

    def step_of_replica(self, features):
        loss, weight, *gradients = self._sums(features)
        if self.replicas > 1:
            context = tf.distribute.get_replica_context()
            loss, weight, *gradients = context.all_reduce("SUM", [loss, weight, *gradients])
        total = tf.maximum(weight, 1.0)
        gradients = [gradient / total for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        if self.clip_norm:
            scale = self.clip_norm / tf.maximum(norm, self.clip_norm)
            gradients = [gradient * scale for gradient in gradients]
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return tf.stack([loss, weight, norm])

    def sums_of_batch(self, features):
        """[loss, weight, gradient of each variable] summed over a replica's rows."""
        seed = self.step_and_replica_seed()
        state = self.carried.read()
        if self.accumulation == 1:
            sums, state = self.sums_of_micro_batch(features, state, seed)
            self.carried.write(state)
            return sums
        cut = (
            lambda x: tf.reshape(  # noqa: E731 - [b, ...] -> [accumulation, b / accumulation, ...]
                x, tf.concat([[self.accumulation, -1], tf.shape(x)[1:]], 0)
            )
        )
        features, state = tf.nest.map_structure(cut, (features, state))
        sums = [tf.zeros(()), tf.zeros(())]
        sums += [tf.zeros(v.shape) for v in self.model.trainable_variables]
        states = [
            tf.TensorArray(x.dtype, self.accumulation, element_shape=x.shape[1:])
            for x in tf.nest.flatten(state)
        ]
        for i in tf.range(self.accumulation):
            part, old = tf.nest.map_structure(lambda x: x[i], (features, state))  # noqa: B023
            fold = tf.random.experimental.stateless_fold_in(seed, i)
            more, new = self.sums_of_micro_batch(part, old, fold)
            sums = [a + b for a, b in zip(sums, more, strict=True)]
            states = [
                array.write(i, x) for array, x in zip(states, tf.nest.flatten(new), strict=True)
            ]
        self.carried.write([array.concat() for array in states])
        return sums

    def sums_of_micro_batch(self, features, state, seed):
        variables = self.model.trainable_variables
        with step_seed(seed), tf.GradientTape() as tape:
            logits, state = self.model(features, state=state, training=True)
            objective, nll = self.objective(logits, features["targets"], features["weights"])
        gradients = tape.gradient(objective, [v.value for v in variables])
        dense = [
            tf.zeros(v.shape) if g is None else tf.convert_to_tensor(g)
            for g, v in zip(gradients, variables, strict=True)
        ]
        return [nll, tf.reduce_sum(features["weights"]), *dense], state

    def step_and_replica_seed(self):
        """int32 [2], a function of the run's seed, the step and the replica."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.constant([self.seed, 0], "int32")
        step = tf.cast(self.optimizer.iterations, "int32")
        for number in (step, replica):
            seed = tf.random.experimental.stateless_fold_in(seed, number)
        return seed

    def update_averages(self):
        for average, variable in zip(self.averages, self.model.trainable_variables, strict=False):
            self.strategy.extended.update(
                average,
                lambda a, v: a.assign_add((1 - self.ema_decay) * (v - a)),
                args=(variable.value,),
            )


def use_xla(choice):
    """Whether to compile: `choice`, or for "auto" whether it pays here.

    In bfloat16 XLA's CPU backend loses the gain of the oneDNN kernels.
    """
    if choice != "auto":
        return choice
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    return on_gpu or keras.config.dtype_policy().compute_dtype == "float32"
