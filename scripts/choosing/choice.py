"""What somebody wishes for, and the models that do."""

import dataclasses

from choosing.families import MORE
from choosing.model import HUB, NATIVE, NO, OURS
from choosing.tasks import TASKS, USES, use
from trainers.errors import UserError
from trainers.settings import did_you_mean

LOADED = (NATIVE, HUB, OURS, NO)  # in order of what goes furthest


@dataclasses.dataclass
class Wish:
    """What a model is to do.

    Attributes:
      task: a name of TASKS, or another that it has.
      memory: bytes that there are, or None for any.
      memory_for: what is to fit: "run", "lora" or "train".
      weights: one of `model.BYTES`, to run.
      tokens_per_second: the least for one text, or None.
      bandwidth: bytes a second that memory gives, or None.
      language: code or None.
      every: whether to name models too that this project does not load.

    Raises:
      UserError: an unknown task; a speed without a bandwidth.
    """

    task: str
    memory: float | None = None
    memory_for: str = "run"
    weights: str = "float32"
    tokens_per_second: float | None = None
    bandwidth: float | None = None
    language: str | None = None
    every: bool = False

    def __post_init__(self):
        names = {other: name for name, task in TASKS.items() for other in task.others}
        self.task = names.get(self.task, self.task)
        if self.task not in TASKS:
            hint = did_you_mean(self.task, [*TASKS, *names])
            raise UserError(f"--task={self.task}: is none of {', '.join(TASKS)}{hint}")
        if self.tokens_per_second and not self.bandwidth:
            raise UserError(
                f"--tokens_per_second={self.tokens_per_second:g}: needs --bandwidth_gb, of the memory "
                "that holds the weights: a GPU's by its data sheet, two cores' some tens"
            )


def choose(models, wish):
    """The models that do, best first, and how many might for what is known of them.

    Sooner ready comes first, then what is loaded natively; then, where there is a limit, the
    largest within it, and without one the smallest.

    Args:
      models: Models.
      wish: Wish.

    Returns:
      (models, how many more do all but that their languages or parameters are not known).

    Raises:
      UserError: a language that is known of no model; nothing does, and then what would.
    """
    able = [m for m in models if use(m, wish.task) and (wish.every or m.loads != NO)]
    check_language(models, wish)
    speaking = [m for m in able if speaks(m, wish.language)]
    known = [m for m in speaking if m.parameters]
    silent = [m for m in able if wish.language and m.languages is None and m.loads != OURS]
    unknown = len(speaking) - len(known) + len(silent)
    fitting = [m for m in known if fits(m, wish)]
    if not fitting:
        raise UserError(refusal(known, wish))
    limited = wish.memory or wish.tokens_per_second
    order = sorted(fitting, key=lambda m: (-1 if limited else 1) * m.parameters)
    order.sort(key=lambda m: (USES.index(use(m, wish.task)), LOADED.index(m.loads)))
    return order, unknown


def speaks(model, language):
    """Whether a model is known to; a recipe does, for it learns of the text that it is given."""
    return language is None or model.loads == OURS or language in (model.languages or ())


def check_language(models, wish):
    known = {code for m in models for code in m.languages or () if code != MORE}
    if wish.language is not None and wish.language not in known:
        raise UserError(
            f"--language={wish.language}: no model here is known to have it; known are "
            f"{', '.join(sorted(known))}"
        )


def fits(model, wish):
    memory = wish.memory is None or needs(model, wish) <= wish.memory
    return memory and (
        wish.tokens_per_second is None or speed(model, wish) >= wish.tokens_per_second
    )


def needs(model, wish):
    return model.memory(wish.memory_for, wish.weights)


def speed(model, wish):
    return model.tokens_per_second(wish.weights, wish.bandwidth)


def refusal(models, wish):
    """One line: nothing fits, and what the smallest would need."""
    if not models:
        return f"--task={wish.task}: no model is known for it in that language"
    smallest = min(models, key=lambda m: needs(m, wish))
    text = f"nothing does --task={wish.task} within that; the smallest, {smallest.name}, "
    text += f"needs --memory_gb={needs(smallest, wish) / 1e9:.3g} to {wish.memory_for}"
    if wish.tokens_per_second:
        fastest = max(models, key=lambda m: speed(m, wish))
        text += f"; the fastest, {fastest.name}, makes {speed(fastest, wish):,.3g} tokens/s"
    return text
