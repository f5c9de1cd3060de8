"""Each named task from made-up files in its format to a trained model, in every family."""

import json
import os
import random
import re

import pytest

from tests.end_to_end.recipes import assert_same, command, metrics_of, tensors
from trainers import checkpoints
from trainers.settings import ROOT

pytestmark = pytest.mark.slow

FAMILIES = {
    "decoder_lm": 'include "configs/models/decoder_lm_nano.gin"\nDecoderLM.num_layers = 1\n'
    "DecoderLM.width = 16\nDecoderLM.num_heads = 2\n",
    "lstm_lm": 'include "configs/models/lstm_lm_small.gin"\nLSTMLM.width = 16\n',
    "encoder_decoder": 'include "configs/models/transformer_tiny.gin"\n'
    "EncoderDecoder.num_layers = 1\nEncoderDecoder.width = 16\nEncoderDecoder.num_heads = 2\n",
}
QUICK = """
SEQUENCE_LENGTH = 96
SOURCE_LENGTH = 96
BATCH_SIZE = 4
STEPS = 4
EVAL_EVERY = 2
TOKENIZER = "bytes"
VOCABULARY_SIZE = None
train.xla = False
train.callbacks = []
train.export_at_end = False
"""
WORDS = ["the", "a", "film", "cat", "sat", "ran", "far", "home", "good", "bad"]


def sentence(draw):
    return " ".join(draw.choices(WORDS, k=6))


def rows_of_sst2(draw):
    return [f"{sentence(draw)}\t{draw.randrange(2)}\n" for _ in range(20)]


def rows_of_scitldr(draw):
    for _ in range(20):
        source, target = [sentence(draw), sentence(draw)], [sentence(draw), sentence(draw)]
        yield json.dumps({"source": source, "target": target, "paper_id": "x"}) + "\n"


def rows_of_squad(draw):
    articles = []
    for number in range(6):
        context = sentence(draw)
        answer = context.split()[3]
        given = [{"text": answer, "answer_start": context.index(answer)}]
        asked = {"id": str(number), "question": "what is fourth?", "answers": given}
        articles.append({"title": "t", "paragraphs": [{"context": context, "qas": [asked]}]})
    yield json.dumps({"data": articles, "version": "1.1"})


def rows_of_text(draw):
    return [f"{sentence(draw)}\n" for _ in range(60)]


FORMATS = {  # task -> (rows, ending of files)
    "sst2": (rows_of_sst2, "tsv"),
    "scitldr": (rows_of_scitldr, "jsonl"),
    "squad": (rows_of_squad, "json"),
    "multi30k_en_de": (rows_of_text, "{language}"),
    "gap_fill": (rows_of_text, "txt"),
    "prefix_lm": (rows_of_text, "txt"),
    "jsonl_text_to_text": (rows_of_scitldr, "jsonl"),
}
MORE = {
    "jsonl_text_to_text": 'INPUTS = "{source[0]}"\nTARGETS = "{target[1]}"\n',
    "multi30k_en_de": "Experiment.averaged_checkpoints = 1\n",
}
RECIPES = ("sst2", "squad", "scitldr", "multi30k_en_de")


def write(folder, task, split):
    """The files of a split as a recipe names them."""
    rows, ending = FORMATS[task]
    given = os.path.join(folder, f"{task}-{split}.{ending}")
    for language in ("en", "de"):
        with open(given.replace("{language}", language), "w") as file:
            file.writelines(rows(random.Random(f"{task} {split}")))
    return given


def recipe(folder, name, text):
    path = os.path.join(folder, f"{name}.gin")
    with open(path, "w") as file:
        file.write(text)
    return f"--gin_file={path}"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", FORMATS)
def test_a_task_trains_in_every_family(tmp_path, task, family):
    base = f'include "configs/recipes/{task if task in RECIPES else "translate_files"}.gin"\n'
    files = "".join(
        f"{split.upper()}_FILES = {write(tmp_path, task, split)!r}\n"
        for split in ("train", "validation")
    )
    if task not in RECIPES:
        base += f'include "configs/tasks/{task}.gin"\n'
    text = base + FAMILIES[family] + QUICK + MORE.get(task, "") + files
    status, _, err = command(recipe(tmp_path, "x", text), f"--model_dir={tmp_path}/run")
    assert status == 0, err
    lines = metrics_of(tmp_path / "run", "validation")
    assert [line["step"] for line in lines] == [2, 4]
    assert lines[0]["loss"] > lines[1]["loss"] > 0


MIXTURE = """
include "configs/recipes/answers.gin"
DecoderLM.num_layers = 1
DecoderLM.width = 16
DecoderLM.num_heads = 2
"""


@pytest.fixture
def mixture(tmp_path):
    """Runs the recipe of a mixture in tmp_path/NAME: (status, output, errors)."""
    files = {
        f"{task.upper()}_{split.upper()}": write(tmp_path, task, split)
        for task, split in (
            ("sst2", "train"),
            ("sst2", "validation"),
            ("squad", "train"),
            ("scitldr", "train"),
            ("scitldr", "validation"),
        )
    }

    def mixture(name, *lines):
        settings = "".join(f"{macro} = {path!r}\n" for macro, path in files.items())
        text = MIXTURE + QUICK + settings + "STEPS = 8\nEVAL_EVERY = 4\n" + "\n".join(lines)
        return command(recipe(tmp_path, name, text), f"--model_dir={tmp_path}/{name}")

    return mixture


def test_a_mixture_is_evaluated_task_by_task(mixture, tmp_path):
    status, _, err = mixture("run")
    assert status == 0, err
    line = metrics_of(tmp_path / "run", "validation")[-1]
    names = ("sst2", "squad", "scitldr")
    tokens = {name: line[f"{name}_tokens"] for name in names}
    assert line["tokens"] == sum(tokens.values())
    mean = sum(line[f"{name}_loss"] * tokens[name] for name in names) / line["tokens"]
    assert line["loss"] == pytest.approx(mean)
    assert len({line[f"{name}_loss"] for name in names}) == 3
    status, out, _ = command(f"--model_dir={tmp_path}/run", "--mode=evaluate")
    assert status == 0 and "scitldr_loss" in out
    status, _, err = command(f"--model_dir={tmp_path}/run", "--mode=evaluate", "--split=test")
    assert status == 1 and "the data has no test split" in err


class Stopped(Exception):
    """Stands for a process that is killed."""


@pytest.mark.parametrize("plan", ["packed", "bucketed"])
def test_a_mixture_that_was_stopped_ends_like_one_that_was_not(
    mixture, tmp_path, monkeypatch, plan
):
    batches = f"Experiment.batches = @{plan}"
    assert mixture("whole", batches)[0] == 0
    save = checkpoints.Checkpoints.save_soon

    def save_and_stop(self, state, step, *rest):
        if step > 4:
            raise Stopped
        return save(self, state, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save_soon", save_and_stop)
        with pytest.raises(Stopped):
            mixture("stopped", batches)
    status, out, err = mixture("stopped", batches)
    assert status == 0, err
    assert "goes on from" in out and "step_4" in out
    assert_same(tensors(tmp_path / "stopped"), tensors(tmp_path / "whole"))


def test_the_readmes_mixture_is_a_recipe_that_runs(tmp_path):
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        (text,) = re.findall(r"```gin\n(.*?)```", file.read(), re.S)
    for task, file in (("sst2", "my/train.tsv"), ("squad", "my/train.json")):
        assert file in text
        text = text.replace(file, write(tmp_path, task, "train"))
    text += "DecoderLM.num_layers = 1\nDecoderLM.width = 16\n" + QUICK
    status, _, err = command(recipe(tmp_path, "x", text), f"--model_dir={tmp_path}/run")
    assert status == 0, err
    assert metrics_of(tmp_path / "run", "validation")[-1]["squad_loss"] > 0


def test_what_is_wrong_with_a_mixture_is_one_line(mixture, tmp_path):
    status, _, err = mixture(
        "none", 'TEMPERATURE = 1.0\nRATES = {"sst2": 0.0, "squad": 1.0, "scitldr": 1}'
    )
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("error: mixture.rates: sst2 has the rate 0.0; rates are above 0")
    empty = tmp_path / "empty.tsv"
    empty.write_text("sentence\tlabel\n")
    status, _, err = mixture("empty", f"SST2_TRAIN = '{empty}'")
    assert (status, err.count("\n")) == (1, 1)
    assert err == (
        f"error: task 'sst2' of the mixture: {empty}: no record in it, for the train split\n"
    )


@pytest.mark.parametrize(
    "task, broken, message",
    [
        ("sst2", "fine\t1\nodd\t2\n", ":2: '2' is no class number from 0 to 1 and none of"),
        ("sst2", '{"sentence": "odd"}\n', ":1: no field 'label'; the fields are: sentence"),
        ("scitldr", '{"source": ["a"], "target": []}', ":1: the template '{target[0]}' cannot be"),
        ("multi30k_en_de", "\n\n", "train.tsv: no record in it, for the train split"),
    ],
)
def test_what_is_wrong_with_a_tasks_files_is_one_line(tmp_path, task, broken, message):
    given = tmp_path / ("train.jsonl" if broken.startswith("{") else "train.tsv")
    given.write_text(broken)
    files = [str(given)] * 2 if task == "multi30k_en_de" else str(given)
    base = f'include "configs/recipes/{task}.gin"\n{QUICK}'
    text = base + MORE.get(task, "") + f"TRAIN_FILES = {files!r}\n"
    status, _, err = command(recipe(tmp_path, "x", text), f"--model_dir={tmp_path}/run")
    assert (status, err.count("\n")) == (1, 1), err
    assert message in err
    assert not (tmp_path / "run" / "checkpoints").exists()
