"""Loss, perplexity and their kin: over a whole split, from sums, never from averages of averages."""

import math

import numpy as np
import tensorflow as tf

from trainers.carried_state import CarriedState
from trainers.chunked_loss import over_chunks
from trainers.data.pipeline import dataset

STEPS_BETWEEN_QUESTIONS = 50  # of evaluation, whether to go on with it


class Evaluation:
    """Measures a model on every token of a split exactly once, however rows are divided.

    Args:
      model: a zoo.LanguageModel.
      plan: batches of the split, not for training; see data/batches.py.
      strategy: whose scope made the model.
      xla: compile with XLA where the batches are of one shape.
    """

    columns = 3  # of `sums_of_batch`

    def __init__(self, model, plan, strategy, xla=True):
        self.model = model
        self.plan = plan
        self.strategy = strategy
        self.carried = CarriedState(
            model, plan.batch_size // strategy.num_replicas_in_sync, strategy
        )
        self.share = plan.share_counted()
        one_shape = all(None not in shape for _, shape in plan.feature_shapes.values())
        self._sums = tf.function(self.sums_of_batch, autograph=False, jit_compile=xla and one_shape)
        self._loop = tf.function(self.loop, autograph=False)

    def run(self, stop=lambda: False):
        """Measures all of the split.

        Args:
          stop: function asked every so often; once it says True, the rest is left.

        Returns:
          {name: float} of `loss`, `perplexity`, `accuracy` and `tokens`, and where nothing of
          the text was cut `bits_per_byte` and `word_perplexity`; of a mixture the same of each
          task by its name, as `sst2_loss`; of overlapping windows their `evaluation_stride`.
          None if stopped.
        """
        parts = self.plan.parts or {"": (0, self.plan.steps_per_epoch)}
        sums = {}
        for name, (first, last) in parts.items():
            sums[name] = self.sums_of_steps(first, last, stop)
            if sums[name] is None:
                return None
        found = self.figures(sum(sums.values()), self.plan.store.meta)
        for name in self.plan.parts:
            of_part = self.figures(sums[name], self.plan.store.meta["parts"][name])
            found |= {f"{name}_{measure}": value for measure, value in of_part.items()}
        if self.plan.evaluation_stride:
            found["evaluation_stride"] = self.plan.evaluation_stride
        return found

    def sums_of_steps(self, first, last, stop):
        """float64 as of `sums_of_batch`, over steps `first` to before `last`; None if stopped."""
        self.carried.reset()
        iterator = iter(dataset(self.plan, first, last, self.strategy))
        totals = np.zeros(self.columns)
        for done in range(first, last, STEPS_BETWEEN_QUESTIONS):
            if done and stop():
                return None
            steps = min(STEPS_BETWEEN_QUESTIONS, last - done)
            totals += self._loop(iterator, tf.constant(steps)).numpy()
        return totals

    def loop(self, iterator, count):
        def add(i, totals):
            sums = self.strategy.run(self.sums_in_replica, args=(iterator.get_next(),))
            return i + 1, totals + self.strategy.reduce("SUM", sums, axis=None)

        zeros = tf.zeros(self.columns, tf.float64)
        return tf.while_loop(lambda i, _: i < count, add, (0, zeros), parallel_iterations=1)[1]

    def sums_in_replica(self, features):
        # Given a tf.function itself, MirroredStrategy makes one of all its replicas, and XLA cannot
        # compile what reads variables of several devices.
        return self._sums(features)

    def sums_of_batch(self, features):
        """float64 [3]: loss in nats, tokens whose prediction is right, tokens."""
        hidden, state = self.model.hidden(features, state=self.carried.read())
        self.carried.write(state)

        def measure(hidden, targets):
            logits = self.model.logits(hidden)
            nll = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            right = tf.argmax(logits, axis=-1, output_type=tf.int32) == targets
            return (), tf.stack([nll, tf.cast(right, nll.dtype), tf.ones_like(nll)], axis=-1)

        _, measured = over_chunks(
            measure,
            self.model,
            hidden,
            features["targets"],
            counted=features["weights"] != 0,
            share=self.share,
        )
        weights = tf.reshape(features["weights"], [-1, 1])
        return tf.reduce_sum(tf.cast(measured, tf.float64) * tf.cast(weights, tf.float64), axis=0)

    def figures(self, sums, meta):
        """{name: float} of sums as of `sums_of_batch`, and of a store's meta."""
        return measures(*sums, meta)


def measures(loss, correct, tokens, meta):
    """Metrics from sums.

    Args:
      loss: float, summed over the tokens, in nats.
      correct: float, tokens whose likeliest prediction is right.
      tokens: float, a whole number.
      meta: of the split's store; see data/store.py.
    """
    tokens = int(tokens)
    found = {
        "loss": loss / max(tokens, 1),
        "perplexity": perplexity(loss / max(tokens, 1)),
        "accuracy": correct / max(tokens, 1),
        "tokens": tokens,
    }
    # Text of which a part was cut off has more bytes and words than were measured.
    if tokens == meta["target_tokens"]:
        if meta["target_bytes"]:
            found["bits_per_byte"] = loss / math.log(2) / meta["target_bytes"]
        found["word_perplexity"] = perplexity(loss / meta["target_words"])
    return found


def perplexity(loss):
    """exp of a mean loss in nats; infinite where that is past a float."""
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_byte(loss, meta):
    """Of a mean loss in nats a token, on text that has as many bytes a token as the split's."""
    return loss / math.log(2) * meta["target_tokens"] / max(meta["target_bytes"], 1)
