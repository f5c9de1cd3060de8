"""What a model_dir tells of its run: settings, curves, figures, and what the model wrote."""

import dataclasses
import glob
import itertools
import json
import os
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from trainers import config, settings
from trainers.callbacks import metrics_file
from trainers.catalogue import Catalogue
from trainers.errors import UserError
from trainers.model_dir import ModelDir
from trainers.text_metrics.table import OF_TOKENS, better

SAMPLES = 20  # answers of a file of predictions
POINTS = 2000  # of a curve; of more, every so many
LONGEST = 4000  # characters of a text
SAMPLE = "sample/"  # as callbacks/samples.py names them
NOT_FIGURES = (*metrics_file.WHAT, "tokens", "pairs", "seconds", "model_flops_per_second")


@dataclasses.dataclass
class Run:
    """A run as it lies on the disk, finished or not.

    Attributes:
      name: that tells it from the others of a page.
      path: the model_dir.
      settings: trainers.settings.Settings of its config.gin.
      lines: records of metrics.jsonl.
      predictions: what `predictions_of` returns.
      samples: what `samples_of` returns.
    """

    name: str
    path: str
    settings: Any
    lines: list
    predictions: list
    samples: dict

    def of(self, split):
        return [line for line in self.lines if line["split"] == split]


def read(path, name=None):
    """The Run of a model_dir.

    Raises:
      UserError: the folder is no model_dir, or nothing has been reported in it.
    """
    directory = ModelDir(path)
    file = os.path.join(path, config.NAME)
    if not os.path.isdir(path):
        raise UserError(f"{path}: there is no such folder")
    if not os.path.isfile(file):
        raise UserError(f"{path}: is no model_dir, for it has no {config.NAME}")
    lines = metrics_file.read(directory.metrics)
    if not lines:
        raise UserError(f"{directory.metrics}: nothing is reported yet; wait for the first report")
    return Run(
        name=name or os.path.basename(os.path.normpath(path)),
        path=path,
        settings=settings.read([file]),
        lines=lines,
        predictions=predictions_of(directory.predictions),
        samples=samples_of(directory.tensorboard),
    )


def names_of(paths):
    """The shortest ends of paths that tell them apart.

    Raises:
      UserError: a folder is there twice.
    """
    parts = [os.path.abspath(path).strip(os.sep).split(os.sep) for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = [os.sep.join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    whole = list(map(os.path.abspath, paths))
    raise UserError(f"{next(path for path in whole if whole.count(path) > 1)}: is given twice")


def curves(run):
    """{figure: {split: {"step", "tokens", "seconds", "value": lists}}} of training and validation.

    Steps that were gone back from are not in metrics.jsonl, so neither are they here. Tokens are
    those trained on; seconds are missing (None) in runs of versions that did not write them.
    """
    found, trained = {}, 0
    tokens_at = {0: 0}
    for line in run.of("train"):
        trained += line.get("tokens", 0)
        tokens_at[line["step"]] = trained
    for split in ("train", "validation"):
        # A step measured again, by other means, adds figures and does not draw a second point.
        seen = set()
        for line in run.of(split):
            for figure, value in line.items():
                if figure in NOT_FIGURES or value is None or (figure, line["step"]) in seen:
                    continue
                seen.add((figure, line["step"]))
                curve = found.setdefault(figure, {}).setdefault(
                    split, {"step": [], "tokens": [], "seconds": [], "value": []}
                )
                curve["step"].append(line["step"])
                curve["tokens"].append(tokens_at.get(line["step"]))
                curve["seconds"].append(line.get("seconds"))
                curve["value"].append(value)
    order = [name for name in OF_TOKENS if name in found]
    order += sorted(name for name in found if name not in order)
    return {
        figure: {split: thinned(curve) for split, curve in found[figure].items()}
        for figure in order
    }


def thinned(curve):
    """Every so many of the points, the last among them, so that there are at most POINTS."""
    count = len(curve["step"])
    apart = -(-count // POINTS)
    kept = range((count - 1) % apart, count, apart)
    return {name: [values[i] for i in kept] for name, values in curve.items()}


def cost(run):
    """{name: number or None} of steps, tokens, seconds and FLOPs, and the speed in the middle.

    FLOPs are those of the model's matrix products, forward and backward, of every step; the
    share of tokens without a weight counts among the speed, and not among the tokens.
    """
    train = run.of("train")
    tokens = sum(line.get("tokens", 0) for line in train)
    timed = [line for line in train if line.get("tokens_per_second")]
    each = [line["model_flops_per_second"] / line["tokens_per_second"] for line in timed]
    speeds = sorted(line["tokens_per_second"] for line in timed)
    return {
        "steps": train[-1]["step"] if train else 0,
        "tokens": tokens,
        "seconds": max((line["seconds"] for line in run.lines if "seconds" in line), default=None),
        "flops": tokens * sum(each) / len(each) if each else None,
        "tokens_per_second": speeds[len(speeds) // 2] if speeds else None,
    }


def results(run):
    """{(split, figure): (last value, best value, step of the best)} of all but training.

    Of a split measured in several ways at a step, such as with another stride, the last counts.
    """
    found = {}
    for line in run.lines:
        if line["split"] in ("train", "event"):
            continue
        for figure, value in line.items():
            if figure in NOT_FIGURES or value is None:
                continue
            _, best, step = found.get((line["split"], figure), (None, value, line["step"]))
            if better(figure)(best, value) != best:
                best, step = value, line["step"]
            found[line["split"], figure] = value, best, step
    return found


def differences(runs):
    """{"Configurable.parameter": [value as gin writes it, of each run]} where runs differ."""
    flats = [run.settings.flat() for run in runs]
    catalogue = Catalogue()
    rows = {}
    for key in sorted(set().union(*flats)):
        default = config.default_of(key, catalogue)
        values = [config.said(flat.get(key, default)) for flat in flats]
        if len(set(values)) > 1:
            rows[key] = values
    return rows


def predictions_of(folder):
    """The newest predictions of each split: [{"about": dict, "lines": [dict, ...]}, ...]."""
    newest = {}
    for path in glob.glob(os.path.join(glob.escape(folder), "*-*.json")):
        with open(path, encoding="utf-8") as file:
            about = json.load(file)
        if about["step"] >= newest.get(about["split"], ({"step": -1},))[0]["step"]:
            newest[about["split"]] = about, f"{path}l"
    found = []
    for _, (about, path) in sorted(newest.items()):
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                lines = [json.loads(line) for line in itertools.islice(file, SAMPLES)]
            found.append({"about": about, "lines": lines})
    return found


def samples_of(folder):
    """{prompt: (step, text)} of the last samples that are in TensorBoard's files."""
    found = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*", "events.*"))):
        for event in EventFileLoader(path).Load():
            for value in event.summary.value:
                if value.tag.startswith(SAMPLE):
                    (text,) = value.tensor.string_val
                    lines = text.decode(errors="replace").splitlines()
                    unindented = "\n".join(line.removeprefix("    ") for line in lines)
                    found[value.tag.removeprefix(SAMPLE)] = event.step, unindented[:LONGEST]
    return found
