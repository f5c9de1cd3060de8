"""The names of metrics, of their figures, and which way these are better."""

from collections.abc import Callable
from typing import NamedTuple

from trainers.errors import UserError
from trainers.settings import did_you_mean
from trainers.text_metrics import answers, translation, variety


class Metric(NamedTuple):
    """A metric of decoded answers.

    Attributes:
      score: function of predictions and references to figures; see the package.
      figures: {name: max, min, or None where neither is better}.
      ranks: whether the predictions are the likeliest labels, by their log-probabilities, and not
        what the model writes.
    """

    score: Callable
    figures: dict
    ranks: bool = False


METRICS = {
    "bleu": Metric(translation.bleu, {"bleu": max}),
    "tokenised_bleu": Metric(translation.tokenised_bleu, {"tokenised_bleu": max}),
    "chrf": Metric(translation.chrf, {"chrf": max}),
    "ter": Metric(translation.ter, {"ter": min}),
    "rouge": Metric(answers.rouge, {"rouge1": max, "rouge2": max, "rougeL": max}),
    "exact_match": Metric(answers.exact_match, {"exact_match": max}),
    "f1": Metric(answers.f1, {"f1": max}),
    "accuracy": Metric(answers.accuracy, {"answer_accuracy": max}),
    "label_accuracy": Metric(answers.label_accuracy, {"label_accuracy": max}, ranks=True),
    "distinct": Metric(variety.distinct, {"distinct1": max, "distinct2": max}),
    "repetition": Metric(variety.repetition, {"repetition": min}),
    "lengths": Metric(variety.lengths, {"mean_words": None, "empty_answers": min}),
}
LABEL_METRICS = ("accuracy", "label_accuracy")  # of a task with labels that names no metrics
OF_TOKENS = {  # those of trainers.metrics.Evaluation
    "loss": min,
    "perplexity": min,
    "bits_per_byte": min,
    "word_perplexity": min,
    "accuracy": max,
}
OF_PAIRS = {  # those of trainers.preferences.PairEvaluation
    "loss": min,
    "reward_accuracy": max,
    "reward_margin": max,
    "chosen_reward": max,
    "rejected_reward": min,
}


def check_names(names):
    """Raises UserError for a metric that there is not."""
    for name in names:
        if name not in METRICS:
            hint = did_you_mean(name, METRICS) or f"; choose of {', '.join(METRICS)}"
            raise UserError(f"metrics: {name!r} is no metric{hint}")


def figures_of(names):
    """{figure: max, min or None} of metrics by name."""
    return {name: way for metric in names for name, way in METRICS[metric].figures.items()}


def better(figure):
    """max or min: which of a figure's values is better.

    Args:
      figure: its name, perhaps behind "val_" and the name of a mixture's task.
    """
    known = OF_TOKENS | OF_PAIRS | figures_of(METRICS)
    for name in sorted(known, key=len, reverse=True):
        if figure == name or figure.endswith(f"_{name}"):
            return known[name] or min
    return min
