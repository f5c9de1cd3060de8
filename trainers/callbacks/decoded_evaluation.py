"""Evaluation by decoding, in training at every so many evaluations and by `--mode=evaluate`."""

from collections.abc import Sequence

import gin
import keras

from trainers import decoded, generation_options, strategies
from trainers.errors import UserError
from trainers.exported import ExportedModel


@gin.configurable
class DecodedEvaluation(keras.callbacks.Callback):
    """Lets the model answer a split's inputs, and scores the answers by the task's metrics.

    In training it runs before the other callbacks hear of an evaluation: its figures are among
    their logs, as "val_bleu", and with the checkpoint. On a cluster the chief decodes, the others
    wait, and all are told the figures.

    Args:
      every_evaluations: in training it runs with every so many evaluations, and with the last.
      max_examples: of the first examples of the split; None for all.
      max_new_tokens: the most tokens of an answer.
      num_beams: above 1 for the likeliest answer that beam search finds.
      length_penalty: of beams, ranked by log-probability / length ** length_penalty.
      temperature: 0 for the likeliest token each time; else tokens are drawn.
      seed: of the draw.
      stop: an answer ends before the first of these texts.
      batch_size: prompts that run at once; those of like length together.
      samples: how many answers go to TensorBoard.

    Raises:
      UserError: settings that cannot be.
    """

    def __init__(
        self,
        every_evaluations: int = 1,
        max_examples: int | None = None,
        max_new_tokens: int = 128,
        num_beams: int = 1,
        length_penalty: float = 1.0,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        batch_size: int = 32,
        samples: int = 4,
    ):
        super().__init__()
        for name, value in {
            "every_evaluations": every_evaluations,
            "max_examples": max_examples,
        }.items():
            if value is not None and value < 1:
                raise UserError(f"DecodedEvaluation.{name} = {value}: must be at least 1")
        self.every_evaluations = every_evaluations
        self.max_examples = max_examples
        self.samples = samples
        self.settings = {
            "max_new_tokens": max_new_tokens,
            "num_beams": num_beams,
            "length_penalty": length_penalty,
            "temperature": temperature,
            "seed": seed,
            "stop": list(stop),
            "batch_size": batch_size,
        }
        self.options = options_of(self.settings)
        self.export = None

    def figures(self, task):
        """Names of the figures that it adds to the logs of evaluations.

        Raises:
          UserError: a task that has no answers to score, or no validation split.
        """
        if "validation" not in task.splits:
            raise UserError(
                "DecodedEvaluation: the data has no validation split; set VALIDATION_FILES"
            )
        decoded.check(task, "validation")
        return decoded.figure_names(task, "validation")

    def on_evaluation(self, step, number, stop):
        """Measures, where it is due; every worker must ask.

        Args:
          step: of the optimizer.
          number: of the evaluation, from 1.
          stop: function asked between batches.

        Returns:
          {name: float}, empty where it is not due; None if stopped.
        """
        if number % self.every_evaluations and step != self.params["steps"]:
            return {}
        task, board = self.params["task"], self.params["tensorboard"]
        found = self.measure(
            task,
            "validation",
            step,
            self.params["predictions"],
            self.params["strategy"],
            self.params["make_text_model"],
            stop,
        )
        if found is None:
            return None
        if board:
            board.write_samples(self.samples_of(found))
        return {f"val_{name}": value for name, value in found.figures.items()}

    def measure(self, task, split, step, folder, strategy, make_text_model, stop=lambda: False):
        """Decodes, scores and writes down a split; every worker must ask.

        Args:
          task: see data/tasks.py; `decoded.check` has found nothing wrong with it.
          split: its name.
          step: of the model.
          folder: of the predictions.
          strategy: that the workers share.
          make_text_model: function of `prefix` and `suffix` to a TextModel.
          stop: function asked between batches.

        Returns:
          decoded.Decoded, with figures alone where this is not the chief; None if stopped.
        """
        names = decoded.figure_names(task, split)
        found, told = None, [1.0, *(0.0 for _ in names)]
        if strategies.is_chief(strategy):
            if self.export is None:  # examples have all around their inputs that belongs there
                self.export = ExportedModel.of(make_text_model(prefix="", suffix=""))
            found = decoded.evaluate(
                self.export, task, split, self.options, self.max_examples, stop
            )
            if found:
                decoded.write(folder, split, step, found, self.settings)
                told = [0.0, *(found.figures[name] for name in names)]
        stopped, *values = strategies.told_by_chief(strategy, told)
        if stopped:
            return None
        return found or decoded.Decoded(dict(zip(names, values, strict=True)), {}, [])

    def samples_of(self, found):
        """The first answers as texts for TensorBoard, by name."""
        return {
            f"decoded/{place}": "\n".join(f"{name}: {value}" for name, value in line.items())
            for place, line in enumerate(found.lines[: self.samples])
        }


def options_of(settings):
    """`generation_options.read` of the settings of a DecodedEvaluation, whose names they have."""
    given = dict(settings)
    if given["num_beams"] > 1 and not given["temperature"]:
        del given["temperature"], given["seed"]
    else:
        given |= {"do_sample": given["temperature"] > 0, "top_k": 0}
    try:
        return generation_options.read(given, sampled=False)
    except ValueError as error:
        raise UserError(f"DecodedEvaluation: {error}") from None
