"""Text-to-text tasks that any text gives: what stood in gaps of it, and how it goes on.

Both are sources over another source. Gaps and cuts are a function of the seed and of an example's
number in its split, and lie between words, so that every tokenizer does.
"""

import itertools
import random
import re
from collections.abc import Iterator

import gin

from trainers.data.sources import Record
from trainers.errors import UserError


@gin.configurable
def gap_fill(
    source,
    field: str = "text",
    most_words: int = 128,
    gap_fraction: float = 0.15,
    mean_gap_words: float = 3.0,
    first_mark: int = 0xE000,
    seed: int = 0,
):
    """Text with gaps, and what stood in them: the objective of T5 (Raffel et al. 2020, 3.1.4).

    "Thank you for inviting me to your party last week" gives the source "Thank you A me to your
    party B week" and the target "A for inviting B last C", where A, B and C are marks: characters
    of Unicode's private use area, which a tokenizer that learns from such text makes one token if
    they are frequent, and of which it makes three at the most, their bytes.

    Args:
      source: see sources.py.
      field: of the source's records that holds the text.
      most_words: longer texts are cut to pieces of so many words.
      gap_fraction: part of the words that is taken out.
      mean_gap_words: mean length of a gap.
      first_mark: code point of the first mark; the others follow it.
      seed: of the draw.
    """
    if not 0 < gap_fraction < 1:
        raise UserError(f"gap_fill.gap_fraction = {gap_fraction}: must be between 0 and 1")
    if mean_gap_words < 1:
        raise UserError(f"gap_fill.mean_gap_words = {mean_gap_words}: must be at least 1")
    if not 0xE000 <= first_mark <= 0x10FFFF - most_words:
        raise UserError(f"gap_fill.first_mark = {first_mark:#x}: must be from 0xE000 to 0x10FFFF")
    return GapFill(source, field, most_words, seed, gap_fraction, mean_gap_words, first_mark)


@gin.configurable
def prefix_lm(source, field: str = "text", most_words: int = 128, seed: int = 0):
    """Text cut at a random place: the beginning is the source, what follows is the target.

    Args:
      source, field, most_words, seed: see gap_fill.
    """
    return PrefixLM(source, field, most_words, seed)


class SelfSupervised:
    """Subclasses give `name` and `divide`. Records: {"source": str, "target": str}."""

    name: str

    def __init__(self, source, field, most_words, seed, *options):
        if most_words < 2:
            raise UserError(f"{self.name}.most_words = {most_words}: must be at least 2")
        self.source = source
        self.field = field
        self.most_words = most_words
        self.seed = seed
        self.options = options

    @property
    def splits(self):
        return self.source.splits

    def check(self):
        self.source.check()

    def fingerprint(self, split):
        options = self.field, self.most_words, self.seed, *self.options
        return f"{self.name} {options} {self.source.fingerprint(split)}"

    def records(self, split) -> Iterator[Record]:
        number = 0
        for record in self.source.records(split):
            text = record[self.field]
            if not isinstance(text, str):
                raise UserError(f"{record.where}: {self.field} must be a text, and is {text!r:.40}")
            words = re.findall(r"\s*\S+", text)
            for start in range(0, len(words), self.most_words):
                piece = words[start : start + self.most_words]
                if len(piece) > 1:
                    draw = random.Random(f"{self.seed} {split} {number}")
                    source, target = self.divide(piece, draw, record.where)
                    yield Record({"source": source, "target": target}, record.where)
                    number += 1

    def divide(self, words, draw, where):
        """(source, target) of words [2 or more], each with the white space before it."""
        raise NotImplementedError


class GapFill(SelfSupervised):
    name = "gap_fill"

    def __init__(self, source, field, most_words, seed, *options):
        super().__init__(source, field, most_words, seed, *options)
        *_, first = options
        self.marks = re.compile(f"[{chr(first)}-{chr(first + most_words)}]")

    def divide(self, words, draw, where):
        gap_fraction, mean_gap_words, first_mark = self.options
        if mark := self.marks.search("".join(words)):
            raise UserError(
                f"{where}: U+{ord(mark[0]):04X} is one of the marks of gaps; set "
                "gap_fill.first_mark to where the text has no characters"
            )
        lost = min(max(round(len(words) * gap_fraction), 1), len(words) - 1)
        gaps = min(max(round(lost / mean_gap_words), 1), len(words) - lost)
        source, target = [], []
        rest = iter(words)
        # The text may begin or end with a gap, and between two gaps stands a word.
        kept = segments(len(words) - lost + 2, gaps + 1, draw)
        kept[0] -= 1
        for gap, taken in enumerate(segments(lost, gaps, draw)):
            mark = chr(first_mark + gap)
            source += itertools.islice(rest, kept[gap])
            missing = "".join(itertools.islice(rest, taken))
            text = missing.lstrip()
            source.append(missing[: len(missing) - len(text)] + mark)
            target += [mark, text]
        source += rest
        target.append(chr(first_mark + gaps))
        return "".join(source).lstrip(), " ".join(target)


class PrefixLM(SelfSupervised):
    name = "prefix_lm"

    def divide(self, words, draw, where):
        cut = draw.randrange(1, len(words))
        return "".join(words[:cut]).lstrip(), "".join(words[cut:])


def segments(total, count, draw):
    """`count` random lengths of at least 1 that make `total`."""
    cuts = sorted(draw.sample(range(1, total), count - 1))
    return [end - start for start, end in zip([0, *cuts], [*cuts, total], strict=True)]
