"""A mixture of tasks: several tasks learned together, each with its share of the training.

What a row of a task is says the batch plan; which task has a row says mixture_batches.py.
"""

import contextlib
import dataclasses
import itertools
from typing import Any, ClassVar

import gin

from trainers.data.mixture_batches import Mixed, OneAfterAnother
from trainers.errors import UserError


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Several tasks under names; stands where a tasks.Task can.

    Attributes:
      tasks: {name: tasks.Task}, all of one kind.
      rates: {name: float}, or None for rates by number of examples.
      most_examples, temperature: see `mixture`.
    """

    tasks: dict[str, Any]
    rates: dict[str, float] | None = None
    most_examples: int | None = None
    temperature: float = 1.0

    pairs: ClassVar[bool] = False

    @property
    def kind(self):
        return next(iter(self.tasks.values())).kind

    @property
    def source(self):
        return self

    @property
    def splits(self):
        """The splits that a task has; training is of all."""
        known = [task.splits for task in self.tasks.values()]
        return tuple(dict.fromkeys(split for splits in known for split in splits))

    @property
    def labels(self):
        return self.common("labels", ())

    @property
    def layout(self):
        return self.common("layout", self.kind)

    @property
    def chat_template(self):
        """That of its tasks of dialogue, which have but one."""
        return next(iter(self.chat_templates()), "")

    @property
    def special_tokens(self):
        given = [task.special_tokens for task in self.tasks.values()]
        given = [tokens for tokens in given if tokens is not None]
        return tuple(dict.fromkeys(itertools.chain(*given))) if given else None

    def for_model(self, reads_source):
        return self.of_each(lambda task: task.for_model(reads_source))

    def read_by(self, tokenizer):
        return self.of_each(lambda task: task.read_by(tokenizer))

    def keep(self, directory):
        for task in self.tasks.values():
            task.keep(directory)

    def kept(self, directory):
        return self.of_each(lambda task: task.kept(directory))

    def of_each(self, change):
        """The mixture of what a function makes of its tasks."""
        tasks = {name: change(task) for name, task in self.tasks.items()}
        return dataclasses.replace(self, tasks=tasks)

    def chat_templates(self):
        given = (task.chat_template for task in self.tasks.values())
        return list(dict.fromkeys(template for template in given if template))

    def prompt_affixes(self):
        affixes = {task.prompt_affixes() for task in self.tasks.values()}
        return affixes.pop() if len(affixes) == 1 else ("", "")

    def common(self, name, otherwise):
        values = {getattr(task, name) for task in self.tasks.values()}
        return values.pop() if len(values) == 1 else otherwise

    def of_split(self, split):
        return {name: task for name, task in self.tasks.items() if split in task.splits}

    def check(self):
        """Raises UserError where a task's files are missing, or it has nothing to train on."""
        for name, task in self.tasks.items():
            with named(name):
                task.check()
                if "train" not in task.splits:
                    raise UserError("has no train split")
        if len(self.chat_templates()) > 1:
            raise UserError("mixture.tasks: all conversations must have the same template")

    def fingerprint(self, split):
        """Of what `texts` gives."""
        return repr({name: t.fingerprint(split) for name, t in self.of_split(split).items()})

    def examples(self, split):
        """The examples of one task after the other, each with its "task"."""
        for name, task in self.of_split(split).items():
            with named(name):
                for example in task.examples(split):
                    yield {**example, "task": name}

    def texts(self, split):
        """A text of each task in turn, so that a tokenizer learns from all, however large they are."""
        iterators = {name: task.texts(split) for name, task in self.of_split(split).items()}
        while iterators:
            for name in list(iterators):
                with named(name):
                    try:
                        yield next(iterators[name])
                    except StopIteration:
                        del iterators[name]

    def read_answer(self, text):
        # As any of its tasks reads it: those of dialogue have the same template.
        return next(iter(self.tasks.values())).read_answer(text)

    @property
    def stops(self):
        return self.common("stops", ())

    def make_plan(self, split, make):
        """The batches of a split. `make`: function of one of the tasks to its plan."""
        plans = {}
        for name, task in self.of_split(split).items():
            with named(name):
                plans[name] = make(task)
        if not next(iter(plans.values())).training:
            return OneAfterAnother(plans)
        examples = {name: plan.store.meta["examples"] for name, plan in plans.items()}
        return Mixed(plans, self.rates or rates_of(examples, self.most_examples, self.temperature))


@gin.configurable
def mixture(
    tasks: dict[str, Any],
    rates: dict[str, float] | None = None,
    most_examples: int | None = None,
    temperature: float = 1.0,
) -> Mixture:
    """Learns several tasks together, with one tokenizer.

    Args:
      tasks: {name: task}, all language modelling or all text-to-text.
      rates: {name: share of the training examples}, in any unit; None for as many as a task has.
      most_examples: with `rates` None, a task of more examples counts as one of so many.
      temperature: with `rates` None, the numbers' root of this order is taken: 1 leaves them, and
        the higher it is, the more alike the rates are (Raffel et al. 2020, 3.5.2).

    Raises:
      UserError: no tasks, what is no task, tasks of different kinds, rates that do not fit the tasks or are not
        above 0.
    """
    if not tasks:
        raise UserError("mixture.tasks = {}: name at least one task")
    for name, task in tasks.items():
        if isinstance(task, Mixture) or not hasattr(task, "kind"):
            raise UserError(
                f"mixture.tasks: {name} is no task, as @text_to_text() with its brackets makes one"
            )
        if task.pairs:
            raise UserError(
                f"mixture.tasks: {name} has pairs of answers, which learn alone; give all of their "
                "files to one task"
            )
    kinds = {name: task.kind for name, task in tasks.items()}
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{name} is {kind}" for name, kind in kinds.items())
        raise UserError(f"mixture.tasks: {listed}; all must be of one kind")
    if most_examples is not None and most_examples < 1:
        raise UserError(f"mixture.most_examples = {most_examples}: must be at least 1")
    if temperature <= 0:
        raise UserError(f"mixture.temperature = {temperature}: must be above 0")
    if rates is not None:
        if most_examples is not None or temperature != 1.0:
            raise UserError(
                "mixture.rates are fixed, so that most_examples and temperature have no effect; "
                "leave one or the other out"
            )
        if rates.keys() != tasks.keys():
            raise UserError(
                f"mixture.rates: are for {', '.join(rates)}, but the tasks are {', '.join(tasks)}"
            )
        for name, rate in rates.items():
            if not isinstance(rate, int | float) or not rate > 0:
                raise UserError(
                    f"mixture.rates: {name} has the rate {rate!r}; rates are above 0, and a task that "
                    "is not wanted is left out of mixture.tasks"
                )
    return Mixture(tasks, rates, most_examples, temperature)


def rates_of(examples, most_examples=None, temperature=1.0):
    """{name: rate} by numbers of examples {name: int}; see `mixture`."""
    return {
        name: min(count, most_examples or count) ** (1 / temperature)
        for name, count in examples.items()
    }


@contextlib.contextmanager
def named(name):
    """Puts the name of a task before what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"task {name!r} of the mixture: {error}") from error
