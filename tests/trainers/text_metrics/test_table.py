"""What holds for every metric."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.trainers.text_metrics.made import sentences
from trainers import metrics
from trainers.errors import UserError
from trainers.text_metrics.table import METRICS, OF_TOKENS, better, check_names, figures_of

AGAINST_REFERENCES = {  # figure -> its best value
    "bleu": 100,
    "tokenised_bleu": 100,
    "chrf": 100,
    "ter": 0,
    "rouge1": 1,
    "rouge2": 1,
    "rougeL": 1,
    "exact_match": 1,
    "f1": 1,
    "answer_accuracy": 1,
    "label_accuracy": 1,
}
words = some.sampled_from(["one", "two", "Three", "four's", "e.g.", "5,000", "the", "well-known"])
lines = some.lists(words, min_size=5, max_size=12).map(" ".join)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=20, deadline=None)
@given(texts=some.lists(lines, min_size=1, max_size=5))
def test_what_is_its_own_reference_has_the_best_figure(name, texts):
    found = METRICS[name].score(texts, [["something else", text] for text in texts])
    for figure, value in found.items():
        if figure in AGAINST_REFERENCES:
            assert value == pytest.approx(AGAINST_REFERENCES[figure])


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=20, deadline=None)
@given(order=some.permutations(range(12)))
def test_the_order_of_the_lines_changes_nothing(name, order):
    predictions, references = sentences(12)
    score = METRICS[name].score
    found = score([predictions[i] for i in order], [references[i] for i in order])
    assert found == pytest.approx(score(predictions, references))


@pytest.mark.parametrize("name", METRICS)
def test_the_figures_are_those_that_the_table_names_and_a_worse_text_has_worse_ones(name):
    good, references = sentences(12)
    found = METRICS[name].score(good, references)
    assert list(found) == list(METRICS[name].figures)
    bad = METRICS[name].score(["x x x x x x x x", *["x"] * 10, ""], references)
    for figure, way in METRICS[name].figures.items():
        if way and found[figure] != bad[figure]:
            assert way(found[figure], bad[figure]) == found[figure], figure


@pytest.mark.parametrize("name", METRICS)
def test_nothing_to_score_is_one_clear_line(name):
    with pytest.raises(UserError, match="no predictions to score"):
        METRICS[name].score([], [])


@pytest.mark.parametrize(
    "name", [n for n in METRICS if set(figures_of([n])) & {*AGAINST_REFERENCES}]
)
def test_references_that_are_missing_are_one_clear_line(name):
    with pytest.raises(UserError, match="example 2 has no reference"):
        METRICS[name].score(["a", "b"], [["a"], []])
    with pytest.raises(UserError, match="2 predictions and 1 lists of references"):
        METRICS[name].score(["a", "b"], [["a"]])


def test_a_name_that_there_is_not_names_the_nearest():
    check_names(METRICS)
    with pytest.raises(UserError, match="'blue' is no metric; did you mean bleu?"):
        check_names(["chrf", "blue"])
    with pytest.raises(UserError, match="'qqq' is no metric; choose of bleu, "):
        check_names(["qqq"])


def test_figures_have_one_direction_each_and_no_name_twice():
    names = [name for metric in METRICS.values() for name in metric.figures]
    assert len({*names, *OF_TOKENS}) == len(names) + len(OF_TOKENS)
    assert (better("val_bleu"), better("val_ter"), better("val_loss")) == (max, min, min)
    assert (better("accuracy"), better("val_perplexity")) == (max, min)


def test_the_table_knows_the_figures_of_every_evaluation():
    meta = {"target_tokens": 10, "target_bytes": 40, "target_words": 5}
    assert metrics.measures(7.0, 3.0, 10, meta).keys() == {*OF_TOKENS, "tokens"}
