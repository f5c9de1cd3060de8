import csv
import subprocess
import sys

import gin
import pytest

from tests.trainers.text_metrics.made import sentences, write
from trainers.text_metrics.answers import normalised
from trainers.text_metrics.table import METRICS

PREDICTIONS, REFERENCES = sentences()


@pytest.mark.parametrize("use_stemmer", [False, True])
def test_rouge_is_that_of_rouge_scores_command_line(tmp_path, use_stemmer):
    predictions = [f"{text} running cats" for text in PREDICTIONS]
    references = [[f"{texts[0]} runs a cat"] for texts in REFERENCES]
    hyp, ref = write(tmp_path, predictions, references)
    command = [sys.executable, "-m", "rouge_score.rouge", f"--prediction_filepattern={hyp}"]
    command += [f"--target_filepattern={ref}", f"--output_filename={tmp_path}/csv", "--noaggregate"]
    subprocess.run([*command, f"--use_stemmer={use_stemmer}"], check=True)
    with open(tmp_path / "csv") as file:
        rows = list(csv.DictReader(file))
    with gin.unlock_config():
        gin.bind_parameter("rouge.use_stemmer", use_stemmer)
    try:
        found = METRICS["rouge"].score(predictions, references)
        each = [
            METRICS["rouge"].score.each(*pair) for pair in zip(predictions, references, strict=True)
        ]
    finally:
        gin.clear_config()
    assert len(rows) == len(predictions)
    for name in ("rouge1", "rouge2", "rougeL"):
        expected = [float(row[f"{name}-F"]) for row in rows]
        assert [one[name] for one in each] == pytest.approx(expected, abs=1e-6)
        assert found[name] == pytest.approx(sum(expected) / len(expected), abs=1e-6)


@pytest.mark.parametrize("name", ["rouge", "exact_match", "f1", "accuracy"])
def test_the_best_reference_of_each_answer_counts(name):
    score = METRICS[name].score
    predictions = [*PREDICTIONS, REFERENCES[0][1]]
    references = [*REFERENCES, REFERENCES[0]]
    both = [
        [score([p], [[text]]) for text in texts]
        for p, texts in zip(predictions, references, strict=True)
    ]
    for figure, value in score(predictions, references).items():
        best = [max(one[figure] for one in found) for found in both]
        assert value == pytest.approx(sum(best) / len(best))
        assert value > score(predictions, [texts[:1] for texts in references])[figure]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("The  Cat,\tsat.\n", "cat sat"),
        ("an apple a day", "apple day"),
        ("Theatre another", "theatre another"),  # articles are whole words
        ("U.S.A.", "usa"),
        ("the-end", "theend"),  # punctuation goes before articles do
        ("“quoted” — é", "“quoted” — é"),  # only ASCII's punctuation is
        ("A", ""),
        ("", ""),
    ],
)
def test_texts_are_normalised_as_by_squads_evaluation(text, expected):
    assert normalised(text) == expected


@pytest.mark.parametrize(
    "prediction, reference, exact, f1",
    [
        ("the Cat!", "cat", 1, 1),
        ("a cat sat", "cat", 0, 2 / 3),
        ("cat cat", "cat", 0, 2 / 3),  # a word in common counts as often as both have it
        ("dog", "cat", 0, 0),
        ("the", "", 1, 1),  # nothing against nothing, as in SQuAD 2.0
        ("dog", "the", 0, 0),
    ],
)
def test_exact_match_and_f1_of_answers_worked_out_by_hand(prediction, reference, exact, f1):
    assert METRICS["exact_match"].score([prediction], [[reference]]) == {"exact_match": exact}
    assert METRICS["f1"].score([prediction], [[reference]]) == {"f1": pytest.approx(f1)}


def test_accuracy_is_to_the_letter():
    found = METRICS["accuracy"].score(["yes", "Yes", "no "], [["yes"], ["yes"], ["no", "no "]])
    assert found == {"answer_accuracy": pytest.approx(2 / 3)}
