"""Sentences made on the spot, and mistranslations of them."""

import random

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "on",
    "mat",
    "Haus",
    "z.B.",
    "don't",
    "3.5",
    "über",
    "it's",
    "well-known",
    "und",
    "blue",
]


def sentences(count=40, seed=0):
    """(predictions, references), two references each, of differing length and with punctuation."""
    draw = random.Random(seed)
    predictions, references = [], []
    for _ in range(count):
        words = draw.choices(WORDS, k=draw.randint(4, 12))
        both = [[w if draw.random() < 0.8 else draw.choice(WORDS) for w in words] for _ in range(2)]
        references.append([" ".join(text).capitalize() + draw.choice(".!?") for text in both])
        predictions.append(" ".join(words[: draw.randint(3, 12)]) + ", ok.")
    return predictions, references


def write(folder, predictions, references):
    """[hyp, ref0, ref1 ...], files of a text a line."""
    streams = [predictions, *zip(*references, strict=True)]
    paths = [folder / "hyp", *(folder / f"ref{i}" for i in range(len(streams) - 1))]
    for path, texts in zip(paths, streams, strict=True):
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return [str(path) for path in paths]
