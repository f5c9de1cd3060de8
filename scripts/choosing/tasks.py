"""What people want of a model, what does it, and the command that starts."""

import dataclasses
import shlex

from choosing.model import HUB, NATIVE, OURS
from choosing.recipes import required

READY, ASKED, TUNED, SCRATCH = "as it is", "by instruction", "fine-tuned", "from scratch"
USES = (READY, ASKED, TUNED, SCRATCH)  # in order of what is done soonest


@dataclasses.dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
      recipe: that fine-tunes for it.
      files: an example of what that recipe trains on.
      trained: name of the attribute of a Model that was trained for it; None for any decoder.
      others: names that people also know it by.
    """

    recipe: str
    files: str
    trained: str | None = None
    others: tuple[str, ...] = ()


TASKS = {
    "generation": Task("lm_files", "my/train.txt", None, ("text-generation", "text")),
    "chat": Task("finetune_chat", "my/train.jsonl", "chats", ("conversation", "dialogue")),
    "classification": Task(
        "finetune_sst2", "my/train.tsv", None, ("text-classification", "sentiment-analysis")
    ),
    "translation": Task("finetune_translation", "my/train.{language}", "translates"),
    "summarisation": Task("scitldr", "my/train.jsonl", "summarises", ("summarization",)),
    "question-answering": Task("finetune_squad", "my/train.json", None, ("questions",)),
    "code": Task("lm_files", "my/train.txt", "codes"),
}

RECIPES = {  # what each recipe of the project trains for
    "answers": ("classification", "question-answering", "summarisation"),
    "conversations": ("chat",),
    "dates_en_de": ("translation",),
    "dialogue": ("chat",),
    "instructions": ("chat",),
    "lm_files": ("generation", "code"),
    "lstm_words": ("generation",),
    "multi30k_en_de": ("translation",),
    "quickstart": ("generation", "code"),
    "scitldr": ("summarisation",),
    "shakespeare_chars": ("generation",),
    "shakespeare_chars_10m": ("generation",),
    "squad": ("question-answering",),
    "sst2": ("classification",),
    "translate_files": ("translation",),
    "wikitext2_lstm": ("generation",),
}


def use(model, task):
    """How a model does a task, one of USES; None where it does not."""
    if model.loads == OURS:
        return SCRATCH if task in model.tasks else None
    if model.reads_source and task in ("generation", "chat", "code"):
        return None
    trained = TASKS[task].trained
    if task == "generation" or (trained and getattr(model, trained) and not special(model, task)):
        return READY
    if task == "code" or special(model, task):
        return None
    return ASKED if model.chats else TUNED


def special(model, task):
    return model.special and task != "code"


def command(model, task):
    """The command that starts, for a shell; None for a model that this project does not load."""
    if model.loads == OURS:
        return train(model.name, f"runs/{model.name}", TASKS[task].files)
    if model.loads not in (NATIVE, HUB):
        return None
    folder = model.name if model.by_preset else f"my/{model.name}"
    if not model.by_preset and use(model, task) in (READY, ASKED):
        return shlex.join(["python", "scripts/convert.py", folder, f"runs/{model.name}"])
    return train(TASKS[task].recipe, f"runs/{model.name}", TASKS[task].files, INIT=folder)


def train(recipe, model_dir, files, **more):
    values = {name: example(name, files) for name in required(recipe)} | more
    words = ["python", "-m", "trainers.run", f"--gin_file=configs/recipes/{recipe}.gin"]
    words += [f"--model_dir={model_dir}"]
    words += [f'--gin_param={name} = "{value}"' for name, value in values.items()]
    return shlex.join(words)


def example(macro, files):
    """A path for a macro of files: that of `files` for TRAIN_FILES and its like of other splits."""
    split = macro.removesuffix("_FILES").lower()
    return f"my/{split}" if split == macro.lower() else files.replace("train", split)
