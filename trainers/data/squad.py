"""Questions about passages in the JSON of SQuAD (Rajpurkar et al. 2016 and 2018): articles hold
paragraphs, a paragraph holds questions, and an answer is a piece of the paragraph's text."""

import json
import logging
import math
from collections.abc import Sequence
from typing import Literal

import gin

from trainers.data.files import pieces
from trainers.data.sources import DividedFiles, JsonRecord
from trainers.errors import UserError

KINDS = {list: "a list", str: "a text", int: "a whole number"}


@gin.configurable
def squad_files(
    train: Sequence[str] | str,
    validation: Sequence[str] | str | None = None,
    test: Sequence[str] | str | None = None,
    validation_fraction: float = 0.0,
    misplaced_answers: Literal["error", "skip"] = "error",
    unanswerable: str = "",
):
    """Records: {"question", "context", "title", "id": str, "answers": [str, ...]}.

    Args:
      train, validation, test: files, each one JSON object as of SQuAD 1.1 or 2.0.
      validation_fraction: without `validation`, this part of the training articles, the last
        ones, is the validation split, so that no passage is in both.
      misplaced_answers: at an answer that does not stand where the file says stop ("error"), or
        leave it out ("skip"), and the question where no other is left; how many, is logged.
      unanswerable: answer of the questions that 2.0 marks as impossible; "" leaves them out.
    """
    return SquadFiles(
        {"train": train, "validation": validation, "test": test},
        validation_fraction,
        misplaced_answers,
        unanswerable,
    )


class SquadFiles(DividedFiles):
    def __init__(self, files, validation_fraction, misplaced_answers, unanswerable):
        super().__init__(files, validation_fraction, "squad_files")
        self.misplaced_answers = misplaced_answers
        self.unanswerable = unanswerable

    def options(self):
        return self.validation_fraction, self.misplaced_answers, self.unanswerable

    def records(self, split):
        paths = self.paths(split)
        start, stop = 0, math.inf
        if self.cuts(split):
            count = sum(len(articles_of(path)) for path in paths)
            cut = count - math.ceil(count * self.validation_fraction)
            if not cut:
                raise UserError(
                    f"{', '.join(paths)}: {count} article is too few to hold one out; give "
                    "VALIDATION_FILES, or set squad_files.validation_fraction = 0.0"
                )
            start, stop = (0, cut) if split == "train" else (cut, count)
        left_out = {"misplaced": 0, "unanswerable": 0}
        number = 0
        for path in paths:
            for article in articles_of(path):
                if start <= number < stop:
                    yield from self.questions(article, path, left_out)
                number += 1
        for why, count in left_out.items():
            if count:
                logging.getLogger(__name__).warning(
                    "%d %s questions of the %s split were left out", count, why, split
                )

    def questions(self, article, path, left_out):
        for paragraph in field(article, "paragraphs", path, list):
            context = field(paragraph, "context", path, str)
            for asked in field(paragraph, "qas", path, list):
                known = asked if isinstance(asked, dict) else {}
                where = f"{path}: question {known.get('id', '?')}"
                if known.get("is_impossible"):
                    answers, why = [self.unanswerable] * bool(self.unanswerable), "unanswerable"
                else:
                    given = field(asked, "answers", where, list)
                    answers, why = self.in_passage(given, context, where), "misplaced"
                if not answers:
                    left_out[why] += 1
                    continue
                fields = {
                    "question": field(asked, "question", where, str).strip(),
                    "context": context,
                    "title": article.get("title", ""),
                    "id": asked.get("id", ""),
                    "answers": answers,
                }
                yield JsonRecord(fields, where)

    def in_passage(self, given, context, where):
        """Texts of the answers that stand in the passage where they are said to."""
        if not given:
            raise UserError(f"{where}: has no answer, and is not marked as is_impossible")
        found = []
        for answer in given:
            text = field(answer, "text", where, str)
            start = field(answer, "answer_start", where, int)
            if text and context.startswith(text, start):
                found.append(text)
            elif self.misplaced_answers == "error":
                raise UserError(
                    f"{where}: the answer {text!r} is not in the passage at character {start}; mend "
                    "it, or set squad_files.misplaced_answers = 'skip'"
                )
        return found


def articles_of(path):
    try:
        content = json.loads("".join(pieces(path)))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    return field(content, "data", path, list)


def field(value, name, where, kind):
    if not isinstance(value, dict) or name not in value:
        known = ", ".join(value) if isinstance(value, dict) else type(value).__name__
        raise UserError(
            f"{where}: {name!r} is missing where SQuAD's format has it; there is: {known}"
        )
    if not isinstance(value[name], kind):
        raise UserError(f"{where}: {name!r} must be {KINDS[kind]}, and is {value[name]!r:.40}")
    return value[name]
