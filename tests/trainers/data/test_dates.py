import pytest

from trainers.data.dates import cldr_dates
from trainers.errors import UserError


@pytest.fixture(scope="module")
def records():
    source = cldr_dates(2000, 300, 300)
    return {split: list(source.records(split)) for split in source.splits}


def test_dates_read_as_cldr_writes_them(records):
    pairs = {record["source"]: record["target"] for record in records["train"]}
    assert pairs["Tuesday, December 25, 1984"] == "Dienstag, 25. Dezember 1984"
    assert pairs["Aug 30, 2008"] == "30. Aug. 2008"


def test_a_text_has_one_translation_and_is_in_one_split(records):
    seen = {}
    for split, of_split in records.items():
        for record in of_split:
            answer = record["target"], split
            assert seen.setdefault(record["source"], answer) == answer
    assert [len(of_split) for of_split in records.values()] == [2000, 300, 300]


def test_the_same_seed_gives_the_same_dates(records):
    assert list(cldr_dates(2000, 300, 300).records("test")) == records["test"]
    assert list(cldr_dates(2000, 300, 300, seed=1).records("test")) != records["test"]


def test_years_that_two_digits_cannot_tell_apart_are_refused():
    with pytest.raises(UserError, match="must span 1 to 100 years"):
        cldr_dates(first_year=1900, last_year=2000)
