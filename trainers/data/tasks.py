"""Tasks: how a source's records become examples, text by text, and an answer is read back.

Templates are those of `str.format` over a record's fields: "{question}", "{target[0]}".
A list of texts is put in with spaces between, and null as nothing.
"""

import dataclasses
import string
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import gin

from trainers.errors import UserError
from trainers.text_metrics.table import LABEL_METRICS, check_names


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learned from which text; made by `language_modelling` or `text_to_text`.

    Attributes:
      kind: "language_modelling", "text_to_text" or "conversation".
      source: see sources.py.
      targets: template of what is predicted.
      inputs: template of what is given, text-to-text only.
      labels: names of the classes where a target is a class number, else empty.
      metrics: names of the metrics of decoded answers; see text_metrics/table.py.
      references: template of one field, the list of all acceptable answers; empty where the
        target is the only one.
      empty_targets: what is done about a target without text, "error" or "skip".
      scope: the gin scope that the task was made in, where what scores its answers is set as well.
      pairs: whether examples come in pairs, an answer and one that is worse; see preferences.py.
    """

    kind: Literal["language_modelling", "text_to_text", "conversation"]
    source: Any
    targets: str
    inputs: str = ""
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    references: str = ""
    empty_targets: Literal["error", "skip"] = "error"
    scope: tuple[str, ...] = dataclasses.field(
        default_factory=lambda: tuple(gin.current_scope()), kw_only=True
    )

    pairs: ClassVar[bool] = False

    @property
    def splits(self) -> tuple[str, ...]:
        return self.source.splits

    def examples(self, split) -> Iterator[dict]:
        """The split's examples, {"targets": str} or {"inputs": str, "targets": str}.

        A language modelling example with "continues": True goes on in the next one. One with
        "references": [str, ...] has them as acceptable answers.

        Raises:
          UserError: a field of the template is missing in a record, or a target is empty.
        """
        for record in self.source.records(split):
            targets = self.fill(self.targets, record)
            if self.kind == "text_to_text":
                example = self.pair(targets, record)
                if example:
                    yield example
            elif record.get("continues"):
                yield {"targets": targets, "continues": True}
            else:
                yield {"targets": targets}

    def pair(self, targets, record):
        """The text-to-text example of a record, or None where it is left out."""
        if not targets.strip():
            if self.empty_targets == "skip":
                return None
            raise UserError(
                f"{record.where}: the target is empty; write one, or set "
                "text_to_text.empty_targets = 'skip'"
            )
        example = {"inputs": self.fill(self.inputs, record), "targets": self.label(targets, record)}
        if self.references:
            example["references"] = self.all_answers(record)
        return example

    def texts(self, split) -> Iterator[str]:
        """All texts of the split, inputs and targets, for a tokenizer to learn from."""
        for example in self.examples(split):
            if "inputs" in example:
                yield example["inputs"]
            yield example["targets"]

    def read_answer(self, text) -> str:
        """The answer in a generated text."""
        return text.strip()

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts before which an answer ends, beside <eos>."""
        return ()

    def prompt_affixes(self) -> tuple[str, str]:
        """(prefix, suffix) of the inputs template around its one field; empty where it has more."""
        parts = list(string.Formatter().parse(self.inputs))
        fields = [part for part in parts if part[1] is not None]
        if len(fields) != 1:
            return "", ""
        at = parts.index(fields[0])
        texts = [part[0] for part in parts]
        return "".join(texts[: at + 1]), "".join(texts[at + 1 :])

    def fingerprint(self, split) -> str:
        """Changes when the split's examples do."""
        parts = [self.kind, self.inputs, self.targets, self.labels, self.source.fingerprint(split)]
        if self.empty_targets == "skip":
            parts.append("skip")
        return repr(tuple(parts))

    def check(self):
        """Raises UserError for a metric that there is not, and where the source's files are missing."""
        check_names(self.metrics)
        self.source.check()

    def make_plan(self, split, make):
        """The batches of a split. `make`: function of a task without parts to its plan."""
        return make(self)

    def for_model(self, reads_source) -> "Task":
        """The task as a model learns it that has an encoder, or none."""
        return self

    @property
    def layout(self) -> str:
        """Of the prompts of an export, see prompts.py."""
        return self.kind

    @property
    def chat_template(self) -> str:
        """Of a task of dialogue, in Jinja."""
        return ""

    @property
    def special_tokens(self) -> tuple[str, ...] | None:
        """That the tokenizer must have; see `tokenizers.train_tokenizer`."""
        return None

    def read_by(self, tokenizer) -> "Task":
        """The task as this tokenizer reads its texts, whose special tokens may be more."""
        return self

    def keep(self, directory):
        """Writes what a run needs of the task beside its configuration to its model_dir."""

    def kept(self, directory) -> "Task":
        """The task with what was kept.

        Raises:
          UserError: that is not what the configuration says.
        """
        return self

    def fill(self, template, record):
        return self.in_record(formatter.vformat, template, record)

    def all_answers(self, record):
        ((_, field, _, _),) = formatter.parse(self.references)
        answers, _ = self.in_record(formatter.get_field, field, record)
        answers = [answers] if isinstance(answers, str) else answers
        if not isinstance(answers, list) or not all(
            isinstance(x, str | int | float) for x in answers
        ):
            raise UserError(
                f"{record.where}: {field} must be a list of texts, and is {answers!r}; "
                "text_to_text.references names it"
            )
        return [self.label(str(answer), record) for answer in answers]

    def in_record(self, find, template, record):
        try:
            return find(template, (), record)
        except (IndexError, KeyError, AttributeError, TypeError, ValueError) as error:
            raise UserError(
                f"{record.where}: the template {template!r} cannot be filled ({error}); "
                f"the fields are: {', '.join(record)}"
            ) from None

    def label(self, targets, record):
        if not self.labels or targets in self.labels:
            return targets
        if targets.isdecimal() and int(targets) < len(self.labels):
            return self.labels[int(targets)]
        raise UserError(
            f"{record.where}: {targets!r} is no class number from 0 to {len(self.labels) - 1} and "
            f"none of {', '.join(self.labels)}; text_to_text.labels names the classes"
        )


@gin.configurable
def language_modelling(source, text: str = "{text}", metrics: Sequence[str] = ()) -> Task:
    """Predict every token of a text.

    Args:
      source: see sources.py.
      text: template of the text of a record.
      metrics: names of metrics beside loss, perplexity and bits per byte.
    """
    return Task("language_modelling", source, targets=text, metrics=tuple(metrics))


@gin.configurable
def text_to_text(
    source,
    inputs: str = "{source}",
    targets: str = "{target}",
    labels: Sequence[str] = (),
    metrics: Sequence[str] = (),
    references: str = "",
    empty_targets: Literal["error", "skip"] = "error",
) -> Task:
    """Predict one text from another: translation, answers, summaries, classes.

    Args:
      source: see sources.py.
      inputs, targets: templates of what is given and of what is predicted.
      labels: for classification, names of the classes: a target that reads "1" becomes the
        second of them, and one that is such a name stays as it is.
      metrics: names of metrics of decoded answers, see text_metrics/table.py. With labels and
        without names: how often the answer is right, and how often the likeliest label is.
      references: where a record has several acceptable answers, the field that lists them, as
        "{answers}"; `targets` then takes one of them, as "{answers[0]}". A lone text is a list of one.
      empty_targets: at a target without text stop ("error") or leave the example out ("skip").

    Raises:
      UserError: `references` is not one field.
    """
    if references and [part[0] for part in formatter.parse(references)] != [""]:
        raise UserError(
            f"text_to_text.references = {references!r}: must be one field in braces, as '{{answers}}'"
        )
    metrics = metrics or (LABEL_METRICS if labels else ())
    return Task(
        "text_to_text",
        source,
        targets,
        inputs,
        tuple(labels),
        tuple(metrics),
        references,
        empty_targets,
    )


class Formatter(string.Formatter):
    def format_field(self, value, format_spec):
        if isinstance(value, list):
            value = " ".join(str(item) for item in value if item is not None)
        if value is None:
            value = ""
        return super().format_field(value, format_spec)


formatter = Formatter()
