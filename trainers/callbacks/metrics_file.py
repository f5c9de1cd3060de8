"""metrics.jsonl: every report and every evaluation, a JSON object a line, each step once."""

import json
import math
import os
import time

import keras

PREFIX = "val_"
FIRST = ("step", "split", "loss", "perplexity", "bits_per_byte")  # as a reader looks for them
# What the figures of a line are of.
WHAT = ("step", "split", "averaged_steps", "evaluation_stride")
COUNTS = ("step", "tokens", "pairs", "evaluation_stride")  # which Keras makes floats of
# What two runs of the same steps do not share.
TIMES = (
    "seconds",
    "tokens_per_second",
    "pairs_per_second",
    "model_flops_per_second",
    "model_flops_utilization",
)


class MetricsFile(keras.callbacks.Callback):
    """Writes reports as split "train" and evaluations as split "validation".

    "seconds" of a line are those since the training began by the clock on the wall, compilation,
    evaluation and checkpoints included, and the time that lay between two processes not.

    Args:
      path: of the file. Lines of steps after `start`, written by a run that was stopped
        before its next checkpoint, are removed, and so is a line that is cut off.
      start: step that the run goes on from.
      evaluated: the last step whose evaluations stay; None for `start`.
    """

    def __init__(self, path, start=0, evaluated=None):
        super().__init__()
        self.path = path
        self.step = start
        evaluated = start if evaluated is None else evaluated
        self.keep(
            lambda line: line["step"] <= (evaluated if line["split"] == "validation" else start)
        )
        spent = [line["seconds"] for line in read(path) if "seconds" in line]
        self.began = time.monotonic() - max(spent, default=0.0)

    def keep(self, kept):
        lines = [line for line in read(self.path) if kept(line)]
        with open(f"{self.path}.new", "w", encoding="utf-8") as file:
            file.writelines(map(as_line, lines))
        os.replace(f"{self.path}.new", self.path)

    def on_go_back(self, step, event):
        """Takes back what came after `step`, and writes down why."""
        self.keep(lambda line: line["step"] <= step or line["split"] == "event")
        append(self.path, {"step": event["step"], "split": "event", **event})

    def on_train_batch_end(self, batch, logs=None):
        self.step = batch
        self.write("train", logs)

    def on_epoch_end(self, epoch, logs=None):
        values = {k.removeprefix(PREFIX): v for k, v in logs.items() if k.startswith(PREFIX)}
        if values:
            self.write("validation", values)

    def write(self, split, figures):
        seconds = round(time.monotonic() - self.began, 3)
        append(self.path, {"step": self.step, "split": split, **figures, "seconds": seconds})


def read(path):
    """The records of a file, as far as its lines are whole; [] if there is no file."""
    records = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                try:
                    record = json.loads(line)
                except ValueError:
                    break
                records.append(record)
    return records


def add(path, what, figures):
    """Adds a line with those figures that the file has not, or has otherwise.

    Args:
      path: of the file.
      what: {name of WHAT: value}, what they are of; those that are missing do not apply.
      figures: {name: number}.

    Returns:
      the figures that were added, {name: number}.
    """
    known = {}
    for line in read(path):
        if all(line.get(name) == what.get(name) for name in WHAT):
            known |= line
    new = {name: value for name, value in figures.items() if not is_known(name, value, known)}
    if new:
        append(path, {**what, **new})
    return new


def is_known(name, value, known):
    """Whether a figure is known; one that was measured again may differ in its last digits."""
    if name not in known or known[name] is None:
        return name in known and not math.isfinite(value)
    return math.isclose(value, known[name], rel_tol=1e-5)


def append(path, record):
    with open(path, "a", encoding="utf-8") as file:
        file.write(as_line(record))


def as_line(record):
    """One line of JSON, which knows no infinity and no NaN: they become null."""
    ordered = {name: record[name] for name in FIRST if name in record} | record
    for name, value in ordered.items():
        if isinstance(value, float) and not math.isfinite(value):
            ordered[name] = None
        elif name in COUNTS:
            ordered[name] = int(value)
    return json.dumps(ordered) + "\n"
