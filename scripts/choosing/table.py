"""Models as a table for a terminal, and as data."""

from choosing.choice import speed
from choosing.families import MORE
from choosing.model import BYTES
from choosing.tasks import command, use

MOST_LANGUAGES = 5


def lines(models, unknown, wish):
    """The table's lines, what could not be said, and the command that starts the first.

    Args:
      models: as `choose` returns them, with `unknown`.
      wish: Wish.
    """
    heads = ["model", "parameters", "context", "licence", "languages"]
    heads += [f"run, {wish.weights}", "LoRA", "train", "loads", "use"]
    heads += ["tokens/s"] * bool(wish.bandwidth)
    rows = [row(model, wish) for model in models]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for cells in (heads, *rows):
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        yield "  ".join(padded).rstrip()
    yield ""
    if unknown:
        yield f"{unknown} more might do, but their languages or parameters are not known"
    first = command(models[0], wish.task)
    if first:
        yield f"{models[0].name}: {first}"


def row(model, wish):
    cells = [
        model.name,
        count(model.parameters),
        "?" if model.context is None else f"{model.context:,}",
        model.licence or "?",
        spoken(model.languages),
        size(model.run_bytes(wish.weights)),
        size(model.lora_bytes()),
        size(model.train_bytes()),
        model.loads,
        use(model, wish.task),
    ]
    if wish.bandwidth:
        cells.append(f"{speed(model, wish):,.3g}")
    return cells


def count(parameters):
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if parameters >= size:
            return f"{parameters / size:.3g} {unit}"
    return str(parameters)


def size(bytes_):
    return f"{bytes_ / 1e9:.3g} GB"


def spoken(languages):
    if languages is None:
        return "?"
    named = [language for language in languages if language != MORE]
    more = len(named) - MOST_LANGUAGES
    text = " ".join(named[:MOST_LANGUAGES])
    if more > 0:
        return f"{text} +{more}"
    return f"{text} {MORE}" if MORE in languages else text


def as_dict(model, wish):
    """What is known of a model, with the command that starts it, for JSON."""
    return {
        "name": model.name,
        "about": model.about,
        "parameters": model.parameters,
        "active_parameters": model.active or model.parameters,
        "context": model.context,
        "licence": model.licence,
        "languages": model.languages and [each for each in model.languages if each != MORE],
        "other_languages": MORE in (model.languages or ()),
        "run_bytes": {weights: model.run_bytes(weights) for weights in BYTES},
        "lora_bytes": round(model.lora_bytes()),
        "train_bytes": model.train_bytes(),
        "tokens_per_second": speed(model, wish) if wish.bandwidth else None,
        "loads": model.loads,
        "use": use(model, wish.task),
        "command": command(model, wish.task),
    }
