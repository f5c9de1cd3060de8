"""The one train step: exact under every strategy, with accumulation, compiled by XLA.

1. In each replica, `sums_of_batch` sums token losses, weights and the gradient of the
   summed loss; micro-batches add to these sums.
2. One all-reduce of the sums.
3. `update`: the gradient is divided by the global weight, or by the rows; clipped by global
   norm, once, after the reduction; then the optimizer.

XLA compiles part 1, and where a process has a single replica part 3; where its matrix products are
not the fastest, it compiles of part 1 alone what is `fuse`d: elementwise functions and the loss. Nothing here needs
AutoGraph, which takes longer over the model's Python code than making the graph of it takes.
"""

import contextlib

import tensorflow as tf

from trainers.carried_state import CarriedState, copies_of_replicas
from trainers.chunked_loss import loss_and_gradients
from trainers.loss_scale import make_loss_scale
from trainers.strategies import num_workers
from trainers.xla import kernel
from zoo.layers.dropout import step_seed
from zoo.layers.fusion import fusing


class TrainStep:
    """Runs optimizer steps over an iterator of batches.

    Args:
      model: a LanguageModel.
      optimizer: from `optimizers.prepare`.
      objective: see losses.Objective.
      strategy: the tf.distribute.Strategy whose scope made model and optimizer.
      rows: rows of the global batch; a multiple of replicas times `accumulation`.
      accumulation: micro-batches a step.
      clip_norm: largest global gradient norm; 0 for no clipping.
      ema_decay: of a moving average of the weights (Polyak and Juditsky 1992); 0 for none.
      seed: of dropout.
      xla: compile the model with XLA.
      xla_parts: compile with XLA the optimizer, and of a model that is not compiled the functions
        that it `fuse`s (zoo/layers/fusion.py); None for as `xla` says.
      loss_per: "token" for gradients of the mean loss of a token, "row" of a row's summed loss.
      row_tokens: tokens of a row, for the loss scale to begin with.
      share: of the tokens, how many have a weight; see chunked_loss.py.

    Attributes:
      carried: CarriedState, what a recurrent model hands from step to step.
      loss_scale: see loss_scale.py.
      averages: the moving averages, in the order of the model's trainable variables, or [].
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
        xla_parts=None,
        loss_per="token",
        row_tokens=1,
        share=1.0,
    ):
        self.model = model
        self.optimizer = optimizer
        self.objective = objective
        self.strategy = strategy
        self.accumulation = accumulation
        self.clip_norm = clip_norm
        self.ema_decay = ema_decay
        self.seed = seed
        self.loss_per = loss_per
        self.rows = rows
        self.share = share
        self.carried = CarriedState(model, rows // strategy.num_replicas_in_sync, strategy)
        averaged = model.trainable_variables if ema_decay else []
        self.averages = copies_of_replicas([v.value for v in averaged], strategy)
        tokens = rows * row_tokens / (strategy.num_replicas_in_sync * accumulation)
        self.loss_scale = make_loss_scale(model.compute_dtype, tokens)
        self.compile(xla, xla_parts)

    def compile(self, xla, xla_parts=None):
        """Makes the functions anew, with XLA or without."""
        xla_parts = xla if xla_parts is None else xla_parts
        self.xla = xla
        self.fuser = kernel if xla_parts and not xla else None
        alone = self.strategy.num_replicas_in_sync == num_workers(self.strategy)
        self._sums = tf.function(self.sums_of_batch, autograph=False, jit_compile=xla)
        # XLA cannot compile how the replicas of a process wait for each other.
        self._update = tf.function(self.update, autograph=False, jit_compile=xla_parts and alone)
        self._loop = tf.function(self.loop, autograph=False)

    def run(self, iterator, count):
        """`count` steps.

        Returns:
          float32 numpy [count, 3 + M], a step: summed loss, the number of units that it is of,
          gradient norm, and the objective's M `measures`, summed.
        """
        return self._loop(iterator, tf.constant(count)).numpy()

    def loop(self, iterator, count):
        columns = 3 + len(self.objective.measures)
        results = tf.TensorArray("float32", count, element_shape=(columns,))

        def step(i, results):
            return i + 1, results.write(i, self.step(iterator.get_next()))

        # In turn: each step reads the weights that the one before wrote.
        _, results = tf.while_loop(
            lambda i, _: i < count, step, (0, results), parallel_iterations=1
        )
        return results.stack()

    def step(self, features):
        """One step in all replicas; see `run` for what it returns."""
        scale = self.loss_scale.read()
        sums = self.strategy.run(self.reduced_sums, args=(features, scale))

        def update():
            return self.first(self.strategy.run(self._update, args=(sums, scale)))

        def skip():
            self.optimizer.iterations.assign_add(1)
            loss, weight, measures, _ = self.parted([self.first(each) for each in sums])
            return tf.stack([loss, weight, float("inf"), *measures])

        return self.loss_scale.guard([self.first(each) for each in sums], update, skip)

    def parted(self, sums):
        """(loss, weight, measures, gradients) of `sums_of_batch`."""
        loss, weight, *others = sums
        count = len(self.objective.measures)
        return loss, weight, others[:count], others[count:]

    def first(self, value):
        """Of what is the same in all replicas, that of the first one here."""
        return self.strategy.experimental_local_results(value)[0]

    def reduced_sums(self, features, scale):
        sums = self._sums(features, scale)
        return tf.distribute.get_replica_context().all_reduce("SUM", sums)

    def update(self, sums, scale):
        """Clips the mean gradient and hands it to the optimizer."""
        loss, weight, measures, gradients = self.parted(sums)
        total = tf.where(weight > 0, weight, 1.0) if self.loss_per == "token" else float(self.rows)
        norm = global_norm(gradients) / (total * scale)
        factor = 1 / (total * scale)
        if self.clip_norm:
            factor *= self.clip_norm / tf.maximum(norm, self.clip_norm)
        gradients = [gradient * factor for gradient in gradients]
        self.optimizer.apply(gradients, self.model.trainable_variables)
        self.update_averages()
        return tf.stack([loss, weight, norm, *measures])

    def sums_of_batch(self, features, scale):
        """[loss, weight, measures, gradient of each variable times `scale`] of a replica's rows."""
        seed = self.step_and_replica_seed()
        state = self.carried.read()
        if self.accumulation == 1:
            sums, state = self.sums_of_micro_batch(features, state, seed, scale)
        else:
            sums, state = self.sums_of_micro_batches(features, state, seed, scale)
        self.carried.write(state)
        return sums

    def sums_of_micro_batches(self, features, state, seed, scale):
        features, state = divided((features, state), self.accumulation)
        sums = [tf.zeros(()) for _ in range(2 + len(self.objective.measures))]
        sums += [tf.zeros(v.shape) for v in self.model.trainable_variables]
        states = [
            tf.TensorArray(x.dtype, self.accumulation, element_shape=x.shape[1:])
            for x in tf.nest.flatten(state)
        ]

        def add(i, sums, states):
            part, part_state = at((features, state), i)
            part_seed = tf.random.experimental.stateless_fold_in(seed, i)
            more, new = self.sums_of_micro_batch(part, part_state, part_seed, scale)
            sums = [a + b for a, b in zip(sums, more, strict=True)]
            new = tf.nest.flatten(new)
            return i + 1, sums, [array.write(i, x) for array, x in zip(states, new, strict=True)]

        _, sums, states = tf.while_loop(
            lambda i, *_: i < self.accumulation, add, (0, sums, states), parallel_iterations=1
        )
        return sums, [array.concat() for array in states]

    def sums_of_micro_batch(self, features, state, seed, scale):
        with step_seed(seed), fusing(self.fuser):
            sums, gradients, state = loss_and_gradients(
                self.model, self.objective, features, state, scale, self.share
            )
        # Batches whose lengths change leave some of these shapes unknown.
        for gradient, variable in zip(gradients, self.model.trainable_variables, strict=True):
            gradient.set_shape(variable.shape)
        return [*sums, *gradients], state

    def step_and_replica_seed(self):
        """int32 [2], a function of the run's seed, the step and the replica."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.constant([self.seed, 0], "int32")
        step = tf.cast(self.optimizer.iterations, "int32")
        for number in (step, replica):
            seed = tf.random.experimental.stateless_fold_in(seed, number)
        return seed

    def update_averages(self):
        if self.ema_decay:
            variables = self.model.trainable_variables
            for average, variable in zip(self.averages, variables, strict=True):
                average.assign_add((1 - self.ema_decay) * (variable.value - average))

    @contextlib.contextmanager
    def averaged(self):
        """Inside, the model's weights are their averages, if averages are kept."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    def exchange(self):
        for average, variable in zip(self.averages, self.model.trainable_variables, strict=False):
            value = tf.identity(average)
            average.assign(variable.value)
            variable.assign(value)


def global_norm(tensors):
    """Length of all entries as one vector, float32."""
    return tf.sqrt(tf.add_n([sum_of_squares(tensor) for tensor in tensors]))


def sum_of_squares(x, lanes=16):
    """As tf.reduce_sum(x * x), five times faster under XLA on a CPU.

    Equal parts of `x` are added entry by entry first: XLA's CPU backend fuses and vectorises
    that, which a reduction it does not.
    """
    parts = [x]
    if x.shape.num_elements() % lanes == 0:
        parts = tf.unstack(tf.reshape(x, (lanes, -1)))
    return tf.reduce_sum(tf.add_n([tf.square(part) for part in parts]))


def divided(nest, parts):
    """[b, ...] -> [parts, b / parts, ...]"""

    def divide(x):
        return tf.reshape(x, tf.concat([[parts, -1], tf.shape(x)[1:]], 0))

    return tf.nest.map_structure(divide, nest)


def at(nest, i):
    return tf.nest.map_structure(lambda x: x[i], nest)
