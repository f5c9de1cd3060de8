import json
import logging

import pytest

from trainers.data import squad
from trainers.errors import UserError


def question(number, *answers, **more):
    given = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": f"q{number}", "question": f" question {number}? ", "answers": given, **more}


def article(title, context, *questions):
    return {"title": title, "paragraphs": [{"context": context, "qas": list(questions)}]}


@pytest.fixture
def write(tmp_path):
    def write(*articles, name="squad.json", **more):
        path = tmp_path / name
        path.write_text(json.dumps({"version": "1.1", "data": list(articles), **more}))
        return str(path)

    return write


def test_each_question_is_a_record_with_all_of_its_answers(write):
    context = "Émile ran home. Then he slept."
    path = write(
        article("A", context, question(1, ("ran home", 6), ("home", 10)), question(2, ("he", 21))),
        article("B", "So it is.", question(3, ("So", 0))),
    )
    source = squad.squad_files(path)
    assert source.splits == ("train",)
    records = list(source.records("train"))
    assert records[0] == {
        "question": "question 1?",
        "context": context,
        "title": "A",
        "id": "q1",
        "answers": ["ran home", "home"],
    }
    assert [record["answers"] for record in records[1:]] == [["he"], ["So"]]
    assert records[2].where == f"{path}: question q3"


def test_an_answer_that_is_not_where_it_is_said_to_be_is_an_error_or_left_out(write, caplog):
    path = write(
        article(
            "A",
            "It rains.",
            question(1, ("rains", 3)),
            question(2, ("rains", 4), ("It", 0)),
            question(3, ("snows", 3)),
        )
    )
    with pytest.raises(UserError) as error:
        list(squad.squad_files(path).records("train"))
    assert str(error.value) == (
        f"{path}: question q2: the answer 'rains' is not in the passage at character 4; mend it, or "
        "set squad_files.misplaced_answers = 'skip'"
    )
    source = squad.squad_files(path, misplaced_answers="skip")
    with caplog.at_level(logging.WARNING):
        records = list(source.records("train"))
    assert [record["answers"] for record in records] == [["rains"], ["It"]]
    assert [r.getMessage() for r in caplog.records] == [
        "1 misplaced questions of the train split were left out"
    ]
    assert source.fingerprint("train") != squad.squad_files(path).fingerprint("train")


def test_impossible_questions_are_left_out_with_a_count_or_have_an_answer_of_their_own(
    write, caplog
):
    impossible = question(2, is_impossible=True, plausible_answers=[{"text": "x"}])
    path = write(article("A", "It rains.", question(1, ("It", 0), is_impossible=False), impossible))
    with caplog.at_level(logging.WARNING):
        (record,) = squad.squad_files(path).records("train")
    assert record["id"] == "q1"
    assert "1 unanswerable questions" in caplog.text
    source = squad.squad_files(path, unanswerable="nobody knows")
    assert [record["answers"] for record in source.records("train")] == [["It"], ["nobody knows"]]


def test_the_last_articles_are_held_out_over_all_files(write):
    first = write(*(article(f"A{i}", "It.", question(i, ("It", 0))) for i in range(7)))
    second = write(
        *(article(f"B{i}", "It.", question(i, ("It", 0))) for i in range(3)), name="t.json"
    )
    source = squad.squad_files([first, second], validation_fraction=0.35)
    titles = {s: [record["title"] for record in source.records(s)] for s in source.splits}
    assert titles == {
        "train": [f"A{i}" for i in range(6)],
        "validation": ["A6", "B0", "B1", "B2"],
    }
    given = squad.squad_files(first, second, validation_fraction=0.35)
    assert len(list(given.records("train"))) == 7
    with pytest.raises(UserError, match="1 article is too few to hold one out"):
        path = write(article("A", "It.", question(1, ("It", 0))), name="one.json")
        list(squad.squad_files(path, validation_fraction=0.1).records("train"))


def with_question(asked):
    return f'{{"data": [{{"paragraphs": [{{"context": "a", "qas": [{asked}]}}]}}]}}'


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "squad.json: not JSON"),
        ("[]", "squad.json: 'data' is missing where SQuAD's format has it; there is: list"),
        ('{"data": [{"title": "A"}]}', "'paragraphs' is missing .*; there is: title"),
        (
            '{"data": [{"paragraphs": [{"context": "a", "qas": [{"id": "7", "answers": []}]}]}]}',
            "question 7: has no answer, and is not marked as is_impossible",
        ),
        (with_question('"why?"'), "squad.json: question .: 'answers' is missing .* is: str"),
        (
            with_question('{"question": null, "answers": [{"text": "a", "answer_start": 0}]}'),
            "question .: 'question' must be a text, and is None",
        ),
        (
            with_question('{"question": "?", "answers": [{"text": "a", "answer_start": "0"}]}'),
            "question .: 'answer_start' must be a whole number, and is '0'",
        ),
        ('{"data": [{"paragraphs": null}]}', "'paragraphs' must be a list, and is None"),
    ],
)
def test_what_is_not_in_the_format_is_named(tmp_path, content, message):
    path = tmp_path / "squad.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        list(squad.squad_files(str(path)).records("train"))
