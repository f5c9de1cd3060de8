"""Truth: the TextModel asked for one example at a time."""

import dataclasses
import json

import gin
import pytest
import tensorflow as tf

from tests.trainers.data.made import Listed
from tests.trainers.tiny import BytesTokenizer, family
from trainers import decoded, generation_options
from trainers.data import tasks
from trainers.data.mixture import mixture
from trainers.errors import UserError
from trainers.exported import ExportedModel
from trainers.text_metrics import translation
from trainers.text_metrics.table import METRICS
from trainers.text_model import TextModel

PAIRS = [("one", "eins"), ("a longer one", "y"), ("two", "zwei"), ("", "x"), ("three", "drei")]
RECORDS = [{"source": source, "target": target} for source, target in PAIRS]
OPTIONS = generation_options.read({"max_new_tokens": 6, "batch_size": 2}, sampled=False)


@pytest.fixture(scope="module")
def text_model():
    model, layout = family("encoder_decoder")
    return TextModel(model, BytesTokenizer(), layout, max_length=32)


@pytest.fixture(scope="module")
def export(text_model):
    return ExportedModel.of(text_model)


class WithExamples(tasks.Task):
    """A task whose examples have more than inputs and targets."""

    def __new__(cls, examples, **settings):
        task = tasks.text_to_text(Listed([]), **settings)
        object.__setattr__(task, "examples", lambda split: iter(examples))
        return task


def written_alone(text_model, prompt):
    answer = text_model.generate(tf.constant([prompt]), max_new_tokens=6)["text"][0, 0]
    return answer.numpy().decode(errors="replace").strip()


def likeliest(text_model, prompt, texts):
    scored = text_model.score(tf.constant([prompt] * len(texts)), tf.constant(texts))
    return texts[int(tf.argmax(scored["log_probabilities"]))]


def test_answers_are_those_of_each_prompt_alone_in_the_order_of_the_examples(text_model, export):
    task = tasks.text_to_text(Listed(RECORDS), metrics=["exact_match", "chrf"])
    found = decoded.evaluate(export, task, "validation", OPTIONS)
    assert [line["inputs"] for line in found.lines] == [source for source, _ in PAIRS]
    assert [line["references"] for line in found.lines] == [[target] for _, target in PAIRS]
    expected = [written_alone(text_model, source) for source, _ in PAIRS]
    assert [line["prediction"] for line in found.lines] == expected
    assert len(set(expected)) > 1
    assert list(found.figures) == ["exact_match", "chrf"]
    assert all("exact_match" in line and "chrf" not in line for line in found.lines)
    assert list(found.signatures) == ["chrf"]


def test_a_model_that_writes_a_reference_is_right_whatever_is_read_from_texts(text_model, export):
    @dataclasses.dataclass(frozen=True)
    class Upper(tasks.Task):
        def read_answer(self, text):
            return text.strip().upper()

    answers = [written_alone(text_model, source) for source, _ in PAIRS]
    records = [{"source": s, "target": a} for (s, _), a in zip(PAIRS, answers, strict=True)]
    task = Upper("text_to_text", Listed(records), "{target}", "{source}", metrics=("accuracy",))
    found = decoded.evaluate(export, task, "validation", OPTIONS)
    assert found.figures == {"answer_accuracy": 1}
    assert found.lines[0]["prediction"] == answers[0].upper()


def test_answers_are_scored_by_what_stands_in_the_scope_of_their_task(export):
    gin.bind_parameter("tokenised_bleu.language", "de")
    gin.bind_parameter("far/tokenised_bleu.language", "fr")
    try:
        made = {}
        for scope in ("near", "far"):
            with gin.config_scope(scope):
                made[scope] = tasks.text_to_text(Listed(RECORDS), metrics=["tokenised_bleu"])
        both = mixture(made)
        decoded.check(both, "validation")
        found = decoded.evaluate(export, both, "validation", OPTIONS)
    finally:
        gin.clear_config()
    signatures = {name: text.rpartition("|")[2] for name, text in found.signatures.items()}
    assert signatures == {"near_tokenised_bleu": "moses:de", "far_tokenised_bleu": "moses:fr"}


def test_all_references_of_an_example_are_acceptable(text_model, export):
    answer = written_alone(text_model, "one")
    examples = [
        {"inputs": "one", "targets": "no", "references": ["no", answer]},
        {"inputs": "one", "targets": answer},
        {"inputs": "one", "targets": answer, "references": ["no"]},
    ]
    task = WithExamples(examples, metrics=["accuracy"])
    found = decoded.evaluate(export, task, "validation", OPTIONS)
    assert [line["answer_accuracy"] for line in found.lines] == [1, 1, 0]


def test_the_likeliest_label_is_that_of_the_greatest_score(text_model, export):
    labels = ["zz", "b", "qqq"]
    records = [{"source": source, "target": str(i % 3)} for i, (source, _) in enumerate(PAIRS)]
    task = tasks.text_to_text(Listed(records), labels=labels)
    assert task.metrics == ("accuracy", "label_accuracy")
    found = decoded.evaluate(export, task, "validation", OPTIONS)
    chosen = [likeliest(text_model, source, labels) for source, _ in PAIRS]
    assert [line["choice"] for line in found.lines] == chosen
    right = sum(choice == labels[i % 3] for i, choice in enumerate(chosen))
    assert found.figures["label_accuracy"] == pytest.approx(right / len(PAIRS))


def test_nothing_is_generated_where_labels_alone_are_ranked(export):
    labels = [target for _, target in PAIRS]
    task = tasks.text_to_text(Listed(RECORDS), labels=labels, metrics=["label_accuracy"])
    found = decoded.evaluate(export, task, "validation", OPTIONS)
    assert list(found.figures) == ["label_accuracy"]
    assert all("choice" in line and "prediction" not in line for line in found.lines)


def test_only_the_first_examples_are_read_where_fewer_are_asked_for(export):
    task = tasks.text_to_text(Listed(RECORDS), metrics=["lengths"])
    found = decoded.evaluate(export, task, "validation", OPTIONS, max_examples=3)
    assert [line["inputs"] for line in found.lines] == [source for source, _ in PAIRS[:3]]


def test_prompts_that_decoding_shortened_are_counted(export, caplog):
    def warned(*prompts):
        caplog.clear()
        examples = [{"inputs": prompt, "targets": "y"} for prompt in prompts]
        task = WithExamples(examples, metrics=["exact_match"])
        decoded.evaluate(export, task, "validation", OPTIONS)
        return caplog.messages

    assert warned("a" * 31, "b") == []  # and <eos>
    (line,) = warned("a" * 32, "b", "c" * 99)
    assert line == "2 of 3 prompts lost their beginning in decoding: 31 tokens of one are read"
    assert warned("a" * 32, "b", "c" * 99) == []  # said once


@pytest.mark.parametrize("settings", [{"metrics": ["bleu"]}, {"labels": ["eins", "y"]}])
def test_it_stops_between_batches(export, settings):
    examples = [{"inputs": source, "targets": target} for source, target in PAIRS]
    asked = []
    task = WithExamples(examples, **settings)

    def stop():
        asked.append(1)
        return len(asked) == 2

    assert decoded.evaluate(export, task, "validation", OPTIONS, stop=stop) is None
    assert len(asked) == 2


def test_a_label_that_the_model_cannot_read_is_one_clear_line(export):
    task = tasks.text_to_text(Listed([{"source": "a", "target": "0"}]), labels=["b" * 100, "c"])
    with pytest.raises(UserError, match="a continuation has more than the 32 tokens"):
        decoded.evaluate(export, task, "validation", OPTIONS)


@pytest.mark.parametrize(
    "task, problem",
    [
        (tasks.text_to_text(Listed(RECORDS)), "names no metrics; set text_to_text.metrics"),
        (tasks.text_to_text(Listed([]), metrics=["bleu"]), "the test split has no examples"),
        (tasks.text_to_text(Listed(RECORDS), metrics=["label_accuracy"]), "text_to_text.labels"),
        (
            tasks.language_modelling(Listed([{"text": "a"}]), metrics=["distinct"]),
            "no inputs to answer",
        ),
    ],
)
def test_a_task_without_answers_to_score_says_what_it_lacks(task, problem):
    with pytest.raises(UserError, match=problem):
        decoded.check(task, "test")


def test_a_metric_that_lacks_a_package_is_told_of_before_training(monkeypatch):
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_ja_mecab.MeCab", None)
    monkeypatch.setattr(METRICS["bleu"].score, "make", lambda: translation.plain_bleu("ja"))
    with pytest.raises(UserError, match="bleu.language = 'ja': sacreBLEU needs more packages"):
        decoded.check(tasks.text_to_text(Listed(RECORDS), metrics=["bleu"]), "test")


def test_what_is_written_is_whole_and_says_how_it_was_made(tmp_path):
    lines = [{"inputs": "ü", "references": ["a"], "prediction": "b\n"}]
    found = decoded.Decoded({"bleu": 1.5}, {"bleu": "nrefs:1"}, lines)
    folder = str(tmp_path / "predictions")
    for _ in range(2):
        path = decoded.write(folder, "test", 20, found, {"num_beams": 4})
    assert path == f"{folder}/test-20.jsonl"
    with open(path, encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == lines
    with open(f"{folder}/test-20.json") as file:
        about = json.load(file)
    assert about == {
        "split": "test",
        "step": 20,
        "examples": 1,
        "figures": {"bleu": 1.5},
        "signatures": {"bleu": "nrefs:1"},
        "settings": {"num_beams": 4},
    }
    assert sorted(p.name for p in (tmp_path / "predictions").iterdir()) == [
        "test-20.json",
        "test-20.jsonl",
    ]


def test_each_task_of_a_mixture_has_figures_of_its_own(export):
    parts = {
        "short": tasks.text_to_text(Listed(RECORDS[:2]), metrics=["exact_match"]),
        "long": tasks.text_to_text(Listed(RECORDS), labels=[text for _, text in PAIRS]),
        "unscored": tasks.text_to_text(Listed(RECORDS)),
    }
    both = mixture(parts)
    decoded.check(both, "validation")
    found = decoded.evaluate(export, both, "validation", OPTIONS)
    names = ["short_exact_match", "long_answer_accuracy", "long_label_accuracy"]
    assert list(found.figures) == decoded.figure_names(both, "validation") == names
    assert [line["task"] for line in found.lines] == ["short"] * 2 + ["long"] * 5
    for name in ("short", "long"):
        alone = decoded.evaluate(export, parts[name], "validation", OPTIONS)
        assert found.figures.items() >= {f"{name}_{k}": v for k, v in alone.figures.items()}.items()
        of_task = [line for line in found.lines if line["task"] == name]
        assert of_task == [{"task": name, **line} for line in alone.lines]


def test_what_is_wrong_with_a_task_of_a_mixture_names_it():
    unscored = tasks.text_to_text(Listed(RECORDS))
    with pytest.raises(UserError, match="names no metrics"):
        decoded.check(mixture({"a": unscored}), "validation")
    empty = tasks.text_to_text(Listed([]), metrics=["bleu"])
    with pytest.raises(UserError, match="task 'b' of the mixture: .*has no examples"):
        decoded.check(mixture({"a": unscored, "b": empty}), "validation")
