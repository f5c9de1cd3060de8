"""Evaluation by decoding: what a model answers to a split's inputs, scored and written down."""

import dataclasses
import functools
import itertools
import json
import logging
import os
from typing import NamedTuple

import gin

from trainers.data.mixture import Mixture
from trainers.data.special_tokens import SEPARATOR
from trainers.errors import UserError
from trainers.text_metrics.table import METRICS, figures_of


class Decoded(NamedTuple):
    """What `evaluate` finds.

    Attributes:
      figures: {name: float}, see text_metrics.
      signatures: {metric: str}, of those that say how they were computed.
      lines: a dict for each example: "inputs", "references", "prediction" where it was generated,
        "choice" where labels were ranked, and the figures that one answer has.
    """

    figures: dict
    signatures: dict
    lines: list


def parts_of(task, split):
    """{name: task} of what has metrics: of a mixture the tasks of the split, or {"": task}."""
    parts = task.of_split(split) if isinstance(task, Mixture) else {"": task}
    return {name: part for name, part in parts.items() if part.metrics}


def named(name, figures):
    """A dict whose keys have the name of a mixture's task before them."""
    return {f"{name}_{key}" if name else key: value for key, value in figures.items()}


def figure_names(task, split):
    """Names of the figures that `evaluate` finds."""
    parts = parts_of(task, split).items()
    return [figure for name, part in parts for figure in named(name, figures_of(part.metrics))]


def check(task, split):
    """Raises UserError for a task that gives no answers to score; reads the first examples."""
    parts = parts_of(task, split)
    if not parts:
        raise UserError(
            "decoded evaluation: the task names no metrics; set text_to_text.metrics, or those of "
            'another task, for example to ["exact_match"]'
        )
    for name, part in parts.items():
        try:
            check_one(part, split)
        except UserError as error:
            raise UserError(f"task {name!r} of the mixture: {error}" if name else error) from None


def check_one(task, split):
    first = next(iter(questions(task, split)), None)
    if first is None:
        raise UserError(f"decoded evaluation: the {split} split has no examples")
    if "inputs" not in first:
        raise UserError("decoded evaluation: the task has no inputs to answer; use text_to_text")
    with gin.config_scope([*task.scope]):
        for name in task.metrics:
            # A package that it lacks is told before training.
            if hasattr(METRICS[name].score, "make"):
                METRICS[name].score.make()
    ranked = [name for name in task.metrics if METRICS[name].ranks]
    if ranked and not task.labels:
        raise UserError(f"decoded evaluation: {ranked[0]} needs text_to_text.labels")


def evaluate(export, task, split, options, max_examples=None, stop=lambda: False):
    """Answers and scores a split.

    A reference is read as an answer is, by `task.read_answer`: a model that writes its targets
    has the best figures there are.

    Args:
      export: exported.ExportedModel that puts nothing around prompts.
      task: see data/tasks.py; checked. The figures of a mixture are those of each of its tasks,
        with the task's name before theirs.
      split: its name.
      options: of `generation_options.read`.
      max_examples: of the first examples of a task; None for all.
      stop: function asked between batches; once it says True, the rest is left.

    Returns:
      Decoded, or None if stopped.

    Raises:
      UserError: a label is longer than what the model reads.
    """
    found = Decoded({}, {}, [])
    for name, part in parts_of(task, split).items():
        answered = evaluate_one(export, part, split, options, max_examples, stop)
        if answered is None:
            return None
        found.figures.update(named(name, answered.figures))
        found.signatures.update(named(name, answered.signatures))
        of_task = {"task": name} if name else {}
        found.lines.extend(of_task | line for line in answered.lines)
    return found


def evaluate_one(export, task, split, options, max_examples, stop):
    examples = list(itertools.islice(questions(task, split), max_examples))
    answered = {}
    for ranks, answer in ((False, generated), (True, ranked)):
        if any(METRICS[name].ranks is ranks for name in task.metrics):
            answered[ranks] = answer(export, task, examples, options, stop)
            if answered[ranks] is None:
                return None
    references = [
        [task.read_answer(text) for text in example.get("references") or [example["targets"]]]
        for example in examples
    ]
    lines = [
        {"inputs": example["inputs"].replace(SEPARATOR, ""), "references": texts}
        for example, texts in zip(examples, references, strict=True)
    ]
    for ranks, texts in answered.items():
        for line, text in zip(lines, texts, strict=True):
            line["choice" if ranks else "prediction"] = text
    with gin.config_scope([*task.scope]):
        figures, signatures = score(task.metrics, answered, references, lines)
    return Decoded(figures, signatures, lines)


def score(metrics, answered, references, lines):
    """(figures, signatures) of answers; adds to each of `lines` what one answer has."""
    figures, signatures = {}, {}
    for name in metrics:
        metric = METRICS[name]
        predictions = answered[metric.ranks]
        figures |= metric.score(predictions, references)
        if hasattr(metric.score, "signature"):
            signatures[name] = metric.score.signature(references)
        if hasattr(metric.score, "each"):
            for line, prediction, texts in zip(lines, predictions, references, strict=True):
                line |= metric.score.each(prediction, texts)
    return figures, signatures


def questions(task, split):
    """The examples of a split, those of conversations an answer each."""
    return task.for_model(reads_source=True).examples(split)


def generated(export, task, examples, options, stop):
    """The answer to each example; None if stopped."""
    answers = [""] * len(examples)
    options = dataclasses.replace(options, stop=[*options.stop, *task.stops])
    prompts = [example["inputs"] for example in examples]
    warn_of_cuts(export, prompts, options)
    texts = export.generate(prompts, options)
    for done, (place, (best, *_)) in enumerate(texts, 1):
        answers[place] = task.read_answer(best.text)
        if done % options.batch_size == 0 and done < len(examples) and stop():
            return None
    return answers


def warn_of_cuts(export, prompts, options):
    size, new = options.batch_size, options.max_new_tokens
    batches = (prompts[first : first + size] for first in range(0, len(prompts), size))
    cut = sum(int((~export.which_fit(batch, new)).sum()) for batch in batches)
    if cut:
        beside = "" if export.description.reads_source else f" beside max_new_tokens = {new}"
        warn_once(
            f"{cut:,} of {len(prompts):,} prompts lost their beginning in decoding: "
            f"{export.longest_prompt(new):,} tokens of one are read{beside}"
        )


@functools.cache
def warn_once(text):
    """However often a run evaluates."""
    logging.getLogger(__name__).warning(text)


def ranked(export, task, examples, options, stop):
    """The label whose log-probability in sum is the highest, of each example; None if stopped."""
    answers, labels = [], task.labels
    for first in range(0, len(examples), options.batch_size):
        if first and stop():
            return None
        batch = examples[first : first + options.batch_size]
        pairs = [(one["inputs"], text) for one in batch for text in labels]
        try:
            scores = iter(export.score(*zip(*pairs, strict=True), options.batch_size))
        except ValueError as error:
            raise UserError(f"decoded evaluation: {error}") from None
        for _ in batch:
            its_scores = list(itertools.islice(scores, len(labels)))
            likeliest = labels[its_scores.index(max(its_scores))]
            answers.append(task.read_answer(likeliest))
    return answers


def write(folder, split, step, decoded, settings):
    """Writes `split`-`step`.jsonl, a line an example, and beside it .json, how it was made.

    Args:
      folder: made where there is none; files in it are whole or not there.
      split, step: of the figures.
      decoded: Decoded.
      settings: of decoding, for JSON.

    Returns:
      path of the JSON lines.
    """
    path = os.path.join(folder, f"{split}-{step}.jsonl")
    os.makedirs(folder, exist_ok=True)
    about = {
        "split": split,
        "step": step,
        "examples": len(decoded.lines),
        "figures": decoded.figures,
        "signatures": decoded.signatures,
        "settings": settings,
    }
    lines = (json.dumps(line, ensure_ascii=False) + "\n" for line in decoded.lines)
    put(path.removesuffix("l"), [json.dumps(about, ensure_ascii=False, indent=2) + "\n"])
    put(path, lines)
    return path


def put(path, lines):
    with open(f"{path}.new", "w", encoding="utf-8", errors="replace") as file:
        file.writelines(lines)
    os.replace(f"{path}.new", path)
