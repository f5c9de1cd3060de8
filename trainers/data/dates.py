"""Dates in English and German as CLDR writes them: real text, exact answers, no download."""

import datetime
import hashlib
import importlib.metadata
import random

import gin

from trainers.data.sources import Record
from trainers.errors import UserError

# Styles and skeletons of CLDR, each with day, month and year. "medium" is not among them:
# in English it looks like "yMMMd", in German it does not.
FORMATS = ("full", "long", "short", "yMd", "yMEd", "yMMMd", "yMMMEd")
HELD_OUT_PERCENT = 5


@gin.configurable
def cldr_dates(
    train_examples: int = 20_000,
    validation_examples: int = 1_000,
    test_examples: int = 1_000,
    first_year: int = 1950,
    last_year: int = 2049,
    seed: int = 0,
):
    """English dates and how German writes them. Records: {"source": str, "target": str}.

    An English text has one German text, and is in one split.

    Args:
      train_examples, validation_examples, test_examples: number of records.
      first_year, last_year: of the dates that are drawn, both included.
      seed: of the draw.
    """
    examples = {
        "train": train_examples,
        "validation": validation_examples,
        "test": test_examples,
    }
    return CldrDates(examples, first_year, last_year, seed)


class CldrDates:
    splits = ("train", "validation", "test")

    def __init__(self, examples, first_year, last_year, seed):
        if not 1 <= last_year - first_year + 1 <= 100:
            raise UserError(
                f"cldr_dates.first_year = {first_year}, last_year = {last_year}: must span 1 to 100 "
                "years, since some dates show two digits of the year"
            )
        self.examples = examples
        self.first_year = first_year
        self.last_year = last_year
        self.seed = seed

    def records(self, split):
        from babel import Locale
        from babel.dates import format_date, format_skeleton

        english, german = Locale("en"), Locale("de")
        generator = random.Random(f"{self.seed} {split}")
        start = datetime.date(self.first_year, 1, 1).toordinal()
        stop = datetime.date(self.last_year, 12, 31).toordinal() + 1
        number = 0
        while number < self.examples[split]:
            day = datetime.date.fromordinal(generator.randrange(start, stop))
            form = generator.choice(FORMATS)
            if split_of(day) != split:
                continue
            if form in english.date_formats:
                source, target = (format_date(day, form, locale) for locale in (english, german))
            else:
                source, target = (
                    format_skeleton(form, day, locale=locale) for locale in (english, german)
                )
            number += 1
            yield Record({"source": source, "target": target}, f"cldr_dates, {split} {number}")

    def fingerprint(self, split):
        options = self.examples[split], self.first_year, self.last_year, self.seed
        return f"cldr_dates {split} {options} babel {importlib.metadata.version('babel')}"

    def check(self):
        """Nothing can be missing."""


def split_of(day):
    number = int(hashlib.sha256(day.isoformat().encode()).hexdigest(), 16) % 100
    if number < HELD_OUT_PERCENT:
        return "validation"
    return "test" if number < 2 * HELD_OUT_PERCENT else "train"
