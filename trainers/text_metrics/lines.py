"""What all metrics share: texts that belong together, and means over them."""

import statistics

from trainers.errors import UserError


def check_lines(predictions, references=None):
    """Raises UserError where there is nothing to score, or nothing to score it against."""
    if not predictions:
        raise UserError("there are no predictions to score: the split has no examples")
    if references is None:
        return
    if len(predictions) != len(references):
        raise UserError(
            f"{len(predictions)} predictions and {len(references)} lists of references: there must "
            "be one list for each prediction"
        )
    for number, texts in enumerate(references, 1):
        if not texts:
            raise UserError(f"example {number} has no reference to score its prediction against")


class MeanOverAnswers:
    """A metric that is the mean of figures that each answer has.

    Attributes:
      each: function of a prediction and its references, a list, to {name: float}.
    """

    def __init__(self, each):
        self.each = each

    def __call__(self, predictions, references):
        check_lines(predictions, references)
        found = list(map(self.each, predictions, references))
        return {name: statistics.fmean(one[name] for one in found) for name in found[0]}


def best(score, prediction, references):
    """The greatest of a prediction's scores against each reference."""
    return max(score(prediction, reference) for reference in references)
