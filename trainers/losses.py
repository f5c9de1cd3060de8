"""The training objective: sums over tokens, never means, so that any split of a batch adds up."""

import gin
import tensorflow as tf

from trainers import metrics
from trainers.errors import UserError


class Objective:
    """What objectives share: a loss that is summed over the tokens of a batch.

    Attributes:
      unit: what the loss is a mean of, "token" or "pair"; see preferences.DPO for pairs.
      measures: names of further sums, which are reported as means.
    """

    unit = "token"
    measures: tuple[str, ...] = ()

    def check(self, task):
        """Raises UserError where a task has nothing for the objective to learn from."""
        if task.pairs != (self.unit == "pair"):
            what = "pairs of answers" if task.pairs else "no pairs of answers"
            other = "@DPO" if task.pairs else "@CrossEntropy"
            raise UserError(
                f"train.objective = @{type(self).__name__}: the task has {what}; set {other}"
            )

    def weigh(self, features, log_probabilities):
        """How much the loss of each token counts.

        Args:
          features: of a batch, see LanguageModel.
          log_probabilities: function to those of the target tokens, float32 [B, T].

        Returns:
          (weights, sums): float32 [B, T]; and a list of scalars, the loss, the number of units and
          the `measures`, or None where those are the nll and the sum of the weights.
        """
        del log_probabilities
        return features["weights"], None

    def __call__(self, logits, targets, weights):
        """Sums over tokens.

        Args:
          logits: float32 [..., V]; targets: int32 [...]; weights: float32 [...].

        Returns:
          (objective, nll): scalars; what to differentiate, and the plain negative
          log-likelihood in nats.
        """
        raise NotImplementedError

    def figures(self, sums, meta):
        """What is reported of a loss, a number of units and `measures`, each summed.

        Args:
          sums: float64.
          meta: of the store; see data/store.py.
        """
        raise NotImplementedError


@gin.configurable
class CrossEntropy(Objective):
    """Next-token cross-entropy with optional label smoothing and z-loss.

    Args:
      label_smoothing: share of the target's probability spread over the
        vocabulary (Szegedy et al. 2016, section 7).
      z_loss: weight of log(Z)**2, which keeps logits small (Chowdhery et al. 2022, section 5).

    Raises:
      UserError: a share that is none, or a negative weight.
    """

    def __init__(self, label_smoothing: float = 0.0, z_loss: float = 0.0):
        if not 0 <= label_smoothing < 1:
            raise UserError(f"CrossEntropy.label_smoothing = {label_smoothing}: is not in [0, 1)")
        if z_loss < 0:
            raise UserError(f"CrossEntropy.z_loss = {z_loss}: must not be negative")
        self.label_smoothing = label_smoothing
        self.z_loss = z_loss

    def __call__(self, logits, targets, weights):
        return cross_entropies(logits, targets, weights, self.label_smoothing, self.z_loss)

    def figures(self, sums, meta):
        loss, tokens = sums
        loss = float(loss / tokens) if tokens else 0.0
        return {
            "loss": loss,
            "perplexity": metrics.perplexity(loss),
            "bits_per_byte": metrics.bits_per_byte(loss, meta),
            "tokens": int(tokens),
        }


def cross_entropies(logits, targets, weights, label_smoothing, z_loss):
    """(objective, nll) of `Objective.__call__`."""
    targets = tf.convert_to_tensor(targets)

    @tf.custom_gradient
    def sums(logits, weights):
        most = tf.reduce_max(logits, axis=-1)
        shares = tf.exp(logits - most[..., None])
        total = tf.reduce_sum(shares, axis=-1)
        log_z = tf.math.log(total) + most
        nll = log_z - tf.gather(logits, targets, batch_dims=targets.shape.rank)
        objective = nll
        if label_smoothing:
            uniform = log_z - tf.reduce_mean(logits, axis=-1)
            objective = (1 - label_smoothing) * nll + label_smoothing * uniform
        if z_loss:
            objective += z_loss * tf.square(log_z)

        # Written down, for what differentiation would make of it takes half as long again.
        def gradient(of_objective, of_nll):
            learned, told = of_objective * weights, of_nll * weights
            of_log_z = learned * (1 + 2 * z_loss * log_z) + told
            of_target = -(1 - label_smoothing) * learned - told
            chosen = tf.range(logits.shape[-1]) == targets[..., None]
            of_logits = shares * (of_log_z / total)[..., None]
            of_logits += tf.where(chosen, of_target[..., None], 0.0)
            if label_smoothing:
                of_logits -= (label_smoothing / logits.shape[-1] * learned)[..., None]
            return of_logits, of_objective * objective + of_nll * nll

        return (tf.reduce_sum(objective * weights), tf.reduce_sum(nll * weights)), gradient

    return sums(logits, weights)
