"""Truth: the command lines of sacreBLEU and sacremoses."""

import contextlib
import json
import subprocess
import sys

import gin
import pytest

from tests.trainers.text_metrics.made import sentences, write
from trainers.errors import UserError
from trainers.text_metrics.table import METRICS
from trainers.text_metrics.translation import moses

PREDICTIONS, REFERENCES = sentences()


def sacrebleu(predictions, *references, options=("-m", "bleu", "chrf", "ter")):
    """[{"name", "score", "signature", ...}] of the command line."""
    command = [sys.executable, "-m", "sacrebleu", *references, "-i", predictions, *options]
    done = subprocess.run([*command, "-f", "json", "-w", "10"], capture_output=True, check=True)
    found = json.loads(done.stdout)
    return found if isinstance(found, list) else [found]


@contextlib.contextmanager
def bound(**settings):
    """While it lasts gin has settings, `bleu__language` for bleu.language."""
    with gin.unlock_config():
        for name, value in settings.items():
            gin.bind_parameter(name.replace("__", "."), value)
    try:
        yield
    finally:
        gin.clear_config()


@pytest.mark.parametrize("count", [1, 2])
def test_figures_and_signatures_are_those_of_sacrebleus_command_line(tmp_path, count):
    references = [texts[:count] for texts in REFERENCES]
    expected = sacrebleu(*write(tmp_path, PREDICTIONS, references))
    for name, said in zip(["bleu", "chrf", "ter"], expected, strict=True):
        score = METRICS[name].score
        assert score(PREDICTIONS, references) == {name: pytest.approx(said["score"], abs=1e-9)}
        assert score.signature(references) == said["signature"]


@pytest.mark.parametrize("language", ["de", "zh"])
def test_bleu_in_a_language_is_that_of_sacrebleus_command_line_for_it(tmp_path, language):
    predictions = ["我喜欢红色的苹果。", "今天天气很好", *PREDICTIONS]
    references = [["我喜欢绿色的苹果。"], ["今天天气很好"], *(texts[:1] for texts in REFERENCES)]
    options = ["-m", "bleu", "-l", f"en-{language}"]
    (said,) = sacrebleu(*write(tmp_path, predictions, references), options=options)
    assert ("|tok:zh|" in said["signature"]) == (language == "zh")
    score = METRICS["bleu"].score
    with bound(bleu__language=["en", language]):
        assert score(predictions, references) == {"bleu": pytest.approx(said["score"], abs=1e-9)}
        assert score.signature(references) == said["signature"]


def test_a_language_whose_tokens_need_a_package_that_is_not_there_names_it(monkeypatch):
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_ja_mecab.MeCab", None)
    with bound(bleu__language="ja"), pytest.raises(UserError, match="pip install 'sacrebleu.ja.'"):
        METRICS["bleu"].score(["a"], [["a"]])


@pytest.mark.parametrize("language, lowercase", [("en", False), ("de", True)])
def test_tokenised_bleu_is_that_of_sacrebleu_between_tokens_of_sacremoses(
    tmp_path, language, lowercase
):
    def tokenised(path):
        command = ["sacremoses", "-l", language, "tokenize", "-x"]
        with open(path, encoding="utf-8") as file:
            done = subprocess.run(
                [sys.executable, "-m", *command], stdin=file, capture_output=True, check=True
            )
        with open(path, "wb") as file:
            file.write(done.stdout)
        return path

    paths = map(tokenised, write(tmp_path, PREDICTIONS, REFERENCES))
    options = ["-m", "bleu", "-tok", "none", "-s", "none", "--force", *["-lc"] * lowercase]
    (said,) = sacrebleu(*paths, options=options)
    score = METRICS["tokenised_bleu"].score
    with bound(tokenised_bleu__language=language, tokenised_bleu__lowercase=lowercase):
        found, signature = score(PREDICTIONS, REFERENCES), score.signature(REFERENCES)
    assert found == {"tokenised_bleu": pytest.approx(said["score"], abs=1e-9)}
    assert signature == f"{said['signature']}|moses:{language}"


def test_abbreviations_are_those_of_the_language():
    # Truth: "bzw." is in Moses' list of German abbreviations and not in its English one.
    text = "Rot bzw. Blau"
    assert moses("de")(text) == "Rot bzw. Blau"
    assert moses("en")(text) == "Rot bzw . Blau"


def test_examples_may_differ_in_the_number_of_their_references():
    references = [texts[: 1 + i % 2] for i, texts in enumerate(REFERENCES)]
    # Truth: a reference that is there twice is as good as there once.
    filled = [[*texts, texts[0]][:2] for texts in references]
    for name in ("bleu", "chrf", "ter"):
        score = METRICS[name].score
        assert score(PREDICTIONS, references) == pytest.approx(score(PREDICTIONS, filled))
        assert score.signature(references).startswith("nrefs:var|")
