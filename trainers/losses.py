"""The training objective: sums over tokens, never means, so that any split of a batch adds up."""

import gin
import tensorflow as tf

from trainers.errors import UserError


@gin.configurable
class CrossEntropy:
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
        """Sums over tokens.

        Args:
          logits: float32 [..., V]; targets: int32 [...]; weights: float32 [...].

        Returns:
          (objective, nll): scalars; what to differentiate, and the plain negative
          log-likelihood in nats.
        """
        nll = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        objective = nll
        if self.label_smoothing or self.z_loss:
            log_z = tf.reduce_logsumexp(logits, axis=-1)
        if self.label_smoothing:
            uniform = log_z - tf.reduce_mean(logits, axis=-1)
            objective = (1 - self.label_smoothing) * nll + self.label_smoothing * uniform
        if self.z_loss:
            objective += self.z_loss * tf.square(log_z)
        return tf.reduce_sum(objective * weights), tf.reduce_sum(nll * weights)
