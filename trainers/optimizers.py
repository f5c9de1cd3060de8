"""Optimizers: Keras' own, told not to reduce or clip, and a Muon that works on many matrices at once.

The train step reduces and clips gradients itself, exactly; see step.py.
"""

import re
from collections import defaultdict
from collections.abc import Sequence

import gin
import keras
import tensorflow as tf

from trainers.adaptation import matching
from trainers.errors import UserError

USUAL = ("bias", "norm")  # what does not decay by default: not every model has both
INSTEAD = {
    "clipnorm": "set train.clip_norm",
    "clipvalue": "set train.clip_norm",
    "global_clipnorm": "set train.clip_norm",
    "gradient_accumulation_steps": "set ACCUMULATION",
    "use_ema": "set train.ema_decay",
    "loss_scale_factor": 'choose PRECISION "mixed_float16", which has its own',
}


def prepare(optimizer, variables, weight_decay_exclude):
    """Builds a Keras optimizer for a step that hands it global, clipped gradients.

    Args:
      optimizer: a Keras optimizer.
      variables: trainable variables of the model.
      weight_decay_exclude: regular expressions; variables whose path one of them
        matches are not decayed.

    Raises:
      UserError: the optimizer's own clipping, accumulation, averaging or loss scale is on.
    """
    kind = type(optimizer).__name__
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise UserError(f"{kind}: PRECISION scales losses; name the optimizer inside it")
    for setting, instead in INSTEAD.items():
        if getattr(optimizer, setting, None):
            raise UserError(f"{kind}.{setting}: leave it out and {instead}")
    # Keras would sum the gradients over replicas once more inside `apply`.
    optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars
    excluded = [v for v in variables if matches(v.path, weight_decay_exclude)]
    if excluded:
        optimizer.exclude_from_weight_decay(var_list=excluded)
    optimizer.build(variables)
    return optimizer


def check_excluded(patterns, weights):
    """Raises UserError for one of `train.weight_decay_exclude` that matches none of the weights, or is
    no regular expression."""
    unusual = [pattern for pattern in patterns if pattern not in USUAL]
    matching("train.weight_decay_exclude", unusual, [weight.path for weight in weights])


def matches(path, patterns):
    return any(re.search(pattern, path) for pattern in patterns)


@keras.saving.register_keras_serializable("menagerie")
@gin.configurable
class Muon(keras.optimizers.Optimizer):
    """Momentum made orthogonal for matrices, Adam or AdamW for everything else.

    Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon). Matrices of
    one shape go through Newton-Schulz stacked, which on a CPU halves the
    optimizer's share of a small model's step against one at a time.

    Args:
      learning_rate: of matrices, or a schedule.
      momentum: of matrices; the update is Nesterov's.
      newton_schulz_steps: iterations of the quintic.
      weight_decay: decoupled, for matrices; or None.
      adam_ratio: learning rate of all other variables over `learning_rate`.
      adam_beta_1, adam_beta_2, epsilon: Adam's constants.
      adam_exclude: regular expressions: matrices that Adam updates.
      adam_weight_decay: decoupled, for all other variables (Loshchilov and Hutter 2019). A word's
        vector then shrinks while the word does not come, so that rare ones stay small.
    """

    def __init__(
        self,
        learning_rate: float = 0.02,
        momentum: float = 0.95,
        newton_schulz_steps: int = 5,
        weight_decay: float | None = None,
        adam_ratio: float = 0.5,
        adam_beta_1: float = 0.8,
        adam_beta_2: float = 0.95,
        epsilon: float = 1e-10,
        adam_exclude: Sequence[str] = ("embedding",),
        adam_weight_decay: float = 0.0,
        name: str = "muon",
    ):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, name=name)
        self.momentum = momentum
        self.newton_schulz_steps = newton_schulz_steps
        self.adam_ratio = adam_ratio
        self.adam_beta_1 = adam_beta_1
        self.adam_beta_2 = adam_beta_2
        self.epsilon = epsilon
        self.adam_exclude = list(adam_exclude)
        self.adam_weight_decay = adam_weight_decay

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")
        self.spared = [not super(Muon, self)._use_weight_decay(v) for v in variables]
        # None for the matrices: they keep no second moment.
        self.velocities = [
            None if self.is_matrix(v) else self.add_variable_from_reference(v, name="velocity")
            for v in variables
        ]

    def is_matrix(self, variable):
        return len(variable.shape) == 2 and not matches(variable.path, self.adam_exclude)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """Works out all matrices' directions together, then lets Keras update one by one."""
        groups = defaultdict(list)
        for i, variable in enumerate(trainable_variables):
            if self.is_matrix(variable):
                groups[tuple(sorted(variable.shape))].append(i)
        grads = [(grad,) for grad in grads]
        for members in groups.values():
            directions = [self.direction(*grads[i], trainable_variables[i]) for i in members]
            directions = orthogonalised(tf.stack(directions), self.newton_schulz_steps)
            for i, direction in zip(members, tf.unstack(directions), strict=True):
                rows, columns = trainable_variables[i].shape
                grads[i] += (tf.transpose(direction) if rows > columns else direction,)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def direction(self, grad, variable):
        """Nesterov's look ahead, lying wide side down so that [m, n] and [n, m] stack."""
        momentum = self.momentums[self._get_variable_index(variable)]
        moved = self.momentum * momentum + (1 - self.momentum) * grad
        ahead = self.momentum * moved + (1 - self.momentum) * grad
        rows, columns = variable.shape
        return tf.transpose(ahead) if rows > columns else ahead

    def update_step(self, gradient, variable, learning_rate):
        i = self._get_variable_index(variable)
        if self.velocities[i] is None:
            self.update_matrix(*gradient, variable, learning_rate, self.momentums[i])
        else:
            rate = learning_rate * self.adam_ratio
            if self.adam_weight_decay and not self.spared[i]:
                self.assign_sub(variable, rate * self.adam_weight_decay * variable)
            self.update_by_adam(*gradient, variable, rate, self.momentums[i], self.velocities[i])

    def update_matrix(self, gradient, direction, variable, learning_rate, momentum):
        rows, columns = variable.shape
        self.assign_add(momentum, (1 - self.momentum) * (gradient - momentum))
        # Keeps the change of an output entry alike for wide and for tall matrices.
        self.assign_sub(variable, learning_rate * max(1.0, columns / rows) ** 0.5 * direction)

    def update_by_adam(self, gradient, variable, rate, momentum, velocity):
        step = tf.cast(self.iterations + 1, "float32")
        correction = tf.sqrt(1 - self.adam_beta_2**step) / (1 - self.adam_beta_1**step)
        self.assign_add(momentum, (1 - self.adam_beta_1) * (gradient - momentum))
        self.assign_add(velocity, (1 - self.adam_beta_2) * (tf.square(gradient) - velocity))
        self.assign_sub(variable, rate * correction * momentum / (tf.sqrt(velocity) + self.epsilon))

    def get_config(self):
        base = super().get_config()
        config = {name: base[name] for name in ("name", "learning_rate", "weight_decay")}
        own = ("momentum", "newton_schulz_steps", "adam_ratio", "adam_beta_1", "adam_beta_2")
        own += ("epsilon", "adam_exclude", "adam_weight_decay")
        return config | {name: getattr(self, name) for name in own}

    def _use_weight_decay(self, variable):
        by_adam = self.velocities[self._get_variable_index(variable)] is not None
        return not by_adam and super()._use_weight_decay(variable)


def orthogonalised(matrices, steps):
    """U V^T of each matrix's singular value decomposition, nearly (Jordan et al. 2024).

    After five steps singular values that were at least 1/300 of the norm lie within
    [0.68, 1.21], which serves as well as 1.

    Args:
      matrices: float32 [N, m, n], m <= n for speed.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices / (tf.norm(matrices, axis=(-2, -1), keepdims=True) + 1e-7)
    for _ in range(steps):
        gram = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * gram + c * tf.matmul(gram, gram), x)
    return x
