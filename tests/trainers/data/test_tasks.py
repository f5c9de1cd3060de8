import pytest

from tests.trainers.data.made import Listed
from trainers.data import tasks
from trainers.errors import UserError


def test_language_modelling_passes_on_that_a_document_continues():
    source = Listed([{"text": "a", "continues": True}, {"text": "b"}])
    examples = list(tasks.language_modelling(source).examples("train"))
    assert examples == [{"targets": "a", "continues": True}, {"targets": "b"}]


def test_templates_are_filled_from_fields_items_and_lists():
    records = [{"q": "why?", "context": ["It rains.", "It pours."], "answers": ["rain", "x"]}]
    task = tasks.text_to_text(
        Listed(records), inputs="question: {q} context: {context}", targets="{answers[0]}"
    )
    inputs = "question: why? context: It rains. It pours."
    assert list(task.examples("train")) == [{"inputs": inputs, "targets": "rain"}]
    assert list(task.texts("train")) == [inputs, "rain"]


@pytest.mark.parametrize("template", ["{nothing}", "{text[9]}", "{}", "{text.nothing}"])
def test_a_template_that_does_not_fit_names_the_record_and_its_fields(template):
    task = tasks.language_modelling(Listed([{"text": "a"}]), text=template)
    with pytest.raises(UserError, match="listed:1: .*fields are: text"):
        list(task.examples("train"))


def test_class_numbers_become_names():
    records = [
        {"text": "good", "label": 1},
        {"text": "bad", "label": "negative"},
        {"text": "odd", "label": 2},
    ]
    task = tasks.text_to_text(Listed(records), "{text}", "{label}", labels=["negative", "positive"])
    examples = task.examples("train")
    assert [next(examples)["targets"] for _ in range(2)] == ["positive", "negative"]
    with pytest.raises(UserError) as error:
        next(examples)
    assert str(error.value) == (
        "listed:3: '2' is no class number from 0 to 1 and none of negative, positive; "
        "text_to_text.labels names the classes"
    )


def test_all_acceptable_answers_go_with_an_example():
    records = [{"q": "why?", "answers": {"text": ["rain", "the rain"]}}, {"q": "?", "answers": {}}]
    task = tasks.text_to_text(
        Listed(records), "{q}", "{answers[text][0]}", references="{answers[text]}"
    )
    examples = task.examples("train")
    assert next(examples) == {
        "inputs": "why?",
        "targets": "rain",
        "references": ["rain", "the rain"],
    }
    with pytest.raises(UserError, match="listed:2: .*'text'"):
        next(examples)


def test_a_lone_text_is_the_one_acceptable_answer():
    records = [{"source": "?", "target": "Paris"}]
    (example,) = tasks.text_to_text(Listed(records), references="{target}").examples("train")
    assert example["references"] == ["Paris"]


@pytest.mark.parametrize("answers", [7, None, {"text": "Paris"}, ["Paris", None], [["Paris"]]])
def test_references_that_are_no_list_of_texts_name_the_record_and_the_field(answers):
    records = [{"source": "?", "target": "Paris", "answers": answers}]
    task = tasks.text_to_text(Listed(records), references="{answers}")
    with pytest.raises(UserError, match="listed:1: answers must be a list of texts, and is "):
        list(task.examples("train"))


@pytest.mark.parametrize("references", ["answers", "{a} {b}", "the {answers}", "{answers}."])
def test_references_are_one_field(references):
    with pytest.raises(UserError, match="text_to_text.references = .* one field in braces"):
        tasks.text_to_text(Listed([]), references=references)


def test_an_empty_target_is_an_error_or_left_out():
    records = [{"source": "a", "target": " "}, {"source": "b", "target": "c"}]
    with pytest.raises(UserError) as error:
        list(tasks.text_to_text(Listed(records)).examples("train"))
    assert str(error.value) == (
        "listed:1: the target is empty; write one, or set text_to_text.empty_targets = 'skip'"
    )
    task = tasks.text_to_text(Listed(records), empty_targets="skip")
    assert list(task.examples("train")) == [{"inputs": "b", "targets": "c"}]


def test_null_is_no_word():
    records = [{"source": "a", "target": None}, {"source": None, "target": ["b", None, "c"]}]
    with pytest.raises(UserError, match="listed:1: the target is empty"):
        list(tasks.text_to_text(Listed(records)).examples("train"))
    task = tasks.text_to_text(Listed(records), "say {source}", empty_targets="skip")
    assert list(task.examples("train")) == [{"inputs": "say ", "targets": "b c"}]


@pytest.mark.parametrize(
    "inputs, affixes",
    [
        ("{source}", ("", "")),
        ("translate: {source} =", ("translate: ", " =")),
        ("{{{a}}} b", ("{", "} b")),
        ("{a} and {b}", ("", "")),
    ],
)
def test_what_stands_around_the_one_field_is_known_for_the_export(inputs, affixes):
    assert tasks.text_to_text(Listed([]), inputs).prompt_affixes() == affixes


def test_the_fingerprint_follows_templates_and_source():
    def fingerprint(inputs, name="listed"):
        return tasks.text_to_text(Listed([], name), inputs).fingerprint("train")

    assert len({fingerprint("{a}"), fingerprint("{b}"), fingerprint("{a}", "other")}) == 3
