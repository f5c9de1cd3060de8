"""Direct preference optimisation: the objective of pairs of answers, and how they are measured."""

import gin
import tensorflow as tf

from trainers.chunked_loss import log_probabilities
from trainers.errors import UserError
from trainers.losses import Objective
from trainers.metrics import Evaluation

CHOSEN, REJECTED = 1, 2  # segments; see data/pair_batches.py


@gin.configurable
class DPO(Objective):
    """Direct preference optimisation (Rafailov et al. 2023, eq. 7), a mean over pairs.

    The reward of an answer is `beta` times the logarithm of how many times as likely the model finds
    it as the reference model does, the one that training begins with. The loss of a pair is the
    negative log-sigmoid of its margin, the reward of the chosen answer less that of the rejected
    one. Its gradient is that of a cross-entropy in which every token of an answer has a weight that
    the margin gives, below 0 in rejected answers; so the logits of a batch are never needed at once.

    Args:
      beta: how much it counts to stay near the reference model.
      label_smoothing: probability that a pair is labelled the wrong way round (conservative DPO,
        Mitchell 2023).

    Raises:
      UserError: a beta that is not above 0, or a probability that is none or says nothing.
    """

    unit = "pair"
    measures = ("reward_accuracy", "chosen_reward", "rejected_reward")

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0):
        if not beta > 0:
            raise UserError(f"DPO.beta = {beta}: must be above 0")
        if not 0 <= label_smoothing < 0.5:
            raise UserError(f"DPO.label_smoothing = {label_smoothing}: is not in [0, 0.5)")
        self.beta = beta
        self.label_smoothing = label_smoothing

    def measure(self, answers, reference):
        """What pairs are worth.

        Args:
          answers, reference: float32 [B, 2], log-probabilities of chosen and rejected answers, by
            the model and by the reference model.

        Returns:
          (float32 [B, 5], slope): loss, 1, whether the margin is above 0, and the rewards of both
          answers; and float32 [B], the derivative of the loss by the log-probability of the chosen
          answer, which is less that by the rejected one's.
        """
        rewards = self.beta * (answers - reference)
        margin = rewards[:, 0] - rewards[:, 1]
        right = 1 - self.label_smoothing
        loss = right * tf.nn.softplus(-margin) + self.label_smoothing * tf.nn.softplus(margin)
        slope = self.beta * (tf.sigmoid(margin) - right)
        accuracy = tf.cast(margin > 0, "float32")
        columns = loss, tf.ones_like(loss), accuracy, rewards[:, 0], rewards[:, 1]
        return tf.stack(columns, axis=1), slope

    def weigh(self, features, log_probabilities):
        answers = of_answers(log_probabilities(), features)
        measured, slope = self.measure(answers, features["reference"])
        sign = tf.cast(features["segments"] == CHOSEN, "float32")
        sign -= tf.cast(features["segments"] == REJECTED, "float32")
        weights = -slope[:, None] * sign * features["weights"]
        sums = tf.reduce_sum(measured * is_pair(features), axis=0)
        return weights, tf.unstack(sums)

    def __call__(self, logits, targets, weights):
        nll = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        total = tf.reduce_sum(nll * weights)
        return total, total

    def figures(self, sums, meta):
        del meta
        loss, pairs, right, chosen, rejected = (float(each) for each in sums)
        count = max(pairs, 1.0)
        return {
            "loss": loss / count,
            "reward_accuracy": right / count,
            "reward_margin": (chosen - rejected) / count,
            "chosen_reward": chosen / count,
            "rejected_reward": rejected / count,
            "pairs": int(pairs),
        }


class PairEvaluation(Evaluation):
    """Measures a model on every pair of a split, as `DPO` is configured.

    Args: see Evaluation; the plan's `reference` is set.
    """

    columns = 2 + len(DPO.measures)

    def __init__(self, *args):
        self.objective = DPO()
        super().__init__(*args)

    def sums_of_batch(self, features):
        """float64 [5]: see DPO.measure."""
        measured, _ = self.objective.measure(
            answers_of(self.model, features, self.share), features["reference"]
        )
        measured = tf.cast(measured, tf.float64) * tf.cast(is_pair(features), tf.float64)
        return tf.reduce_sum(measured, axis=0)

    def figures(self, sums, meta):
        return self.objective.figures(sums, meta)


def evaluation_of(task):
    """The class that measures the splits of a task."""
    return PairEvaluation if task.pairs else Evaluation


def answers_of(model, features, share=1.0):
    """float32 [B, 2]: log-probabilities of the chosen and the rejected answers of pairs.

    Args:
      share: of the tokens, how many have a weight; see chunked_loss.py.
    """
    hidden, _ = model.hidden(features)
    counted = features["weights"] != 0
    found = log_probabilities(model, hidden, features["targets"], counted, share)
    return of_answers(found, features)


def of_answers(log_probabilities, features):
    """float32 [B, 2], the sums over the chosen and the rejected answers, of tokens' [B, T]."""
    weighted = log_probabilities * features["weights"]
    segments = features["segments"]
    sides = [tf.where(segments == side, weighted, 0.0) for side in (CHOSEN, REJECTED)]
    return tf.stack([tf.reduce_sum(side, axis=1) for side in sides], axis=1)


def is_pair(features):
    """float32 [B, 1]: 0 where a row is empty."""
    return tf.reduce_max(features["weights"], axis=1, keepdims=True)
