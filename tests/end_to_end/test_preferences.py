"""Preferences from JSON lines to a model that has learned them, by the command line."""

import json
import os
import random
import shutil

import numpy as np
import pytest

from tests.end_to_end.recipes import assert_same, command, metrics_of, tensors, timeless
from trainers import checkpoints

MODELS = {
    "decoder_lm": """
include "configs/models/llama_tiny.gin"
DecoderLM.num_layers = 1
DecoderLM.width = 32
DecoderLM.num_heads = 2
DecoderLM.num_kv_heads = 1
DecoderLM.hidden_width = 32
""",
    "lstm_lm": """
include "configs/models/lstm_lm_small.gin"
LSTMLM.num_layers = 1
LSTMLM.width = 32
""",
    "encoder_decoder": """
include "configs/models/transformer_tiny.gin"
EncoderDecoder.num_layers = 1
EncoderDecoder.width = 32
EncoderDecoder.num_heads = 2
EncoderDecoder.dropout = 0.0
""",
}
BEGIN = """
include "configs/base.gin"
include "configs/tasks/jsonl_text_to_text.gin"
{model}
INPUTS = "{{prompt}}"
TARGETS = "{{chosen}}{{rejected}}"
TOKENIZER = "bytes"
VOCABULARY_SIZE = None
SEQUENCE_LENGTH = 32
BATCH_SIZE = 4
STEPS = 1
LEARNING_RATE = 0.01
Experiment.batches = @packed
train.xla = False
train.export_at_end = False
"""
PREFER = """
include "configs/recipes/preferences.gin"
SEQUENCE_LENGTH = 32
BATCH_SIZE = 4
STEPS = 12
EVAL_EVERY = 6
LEARNING_RATE = 0.01
warmup_cosine.warmup_steps = 0
train.best_metric = "val_reward_margin"
train.report_every_steps = 3
train.xla = False
train.export_at_end = False
"""
# Every test is for all three; `make test` has one.
FAMILIES = [
    family if family == "decoder_lm" else pytest.param(family, marks=pytest.mark.slow)
    for family in MODELS
]


def write_pairs(folder):
    """Answers that begin with "yes" are better than those that begin with "no"."""
    draw = random.Random(0)
    for split, count in (("train", 40), ("validation", 10), ("test", 6)):
        with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as file:
            for _ in range(count):
                words = ["".join(draw.choices("abcdef", k=4)) for _ in range(3)]
                prompt, good, bad = words[0], f"yes {words[1]}", f"no {words[2]}"
                record = {"prompt": prompt, "chosen": good, "rejected": bad}
                file.write(json.dumps(record) + "\n")


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request, tmp_path_factory):
    """(model_dir, flags, output) of a run that began with a model of one step."""
    folder = tmp_path_factory.mktemp(request.param)
    write_pairs(folder)
    for name, recipe in (("begin", BEGIN), ("prefer", PREFER)):
        (folder / f"{name}.gin").write_text(recipe.format(model=MODELS[request.param]))
    train = f"--gin_param=TRAIN_FILES = '{folder}/train.jsonl'"
    status, _, err = command(f"--gin_file={folder}/begin.gin", train, f"--model_dir={folder}/begin")
    assert status == 0, err
    flags = [f"--gin_file={folder}/prefer.gin", train, f"--gin_param=INIT = '{folder}/begin'"]
    for split in ("validation", "test"):
        flags.append(f"--gin_param={split.upper()}_FILES = '{folder}/{split}.jsonl'")
    status, out, err = command(*flags, f"--model_dir={folder}/run")
    assert status == 0, err
    return str(folder / "run"), flags, out


def test_the_margin_of_held_out_pairs_rises(trained):
    model_dir, _, out = trained
    first, last = metrics_of(model_dir, "validation")
    assert 0 < first["reward_margin"] < last["reward_margin"]
    assert last["loss"] < first["loss"] < np.log(2)
    assert last["reward_accuracy"] == 1
    assert first["pairs"] == last["pairs"] == 10
    assert "val_reward_margin" in out and "pairs/s" in out
    reports = metrics_of(model_dir, "train")
    assert [line["pairs"] for line in reports] == [12] * 4
    assert reports[0]["loss"] > reports[-1]["loss"]
    assert not {"perplexity", "tokens", "tokens_per_second"} & set(reports[0])
    saved = checkpoints.Checkpoints(os.path.join(model_dir, "checkpoints"))
    assert saved.choose("best") == 12


def test_a_run_that_was_stopped_ends_like_one_that_was_not(trained, tmp_path, monkeypatch):
    model_dir, flags, _ = trained
    stopped = str(tmp_path / "run")
    save = checkpoints.Checkpoints.save_soon

    def save_and_stop(self, state, step, *rest):
        if step > 6:
            raise InterruptedError
        return save(self, state, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save_soon", save_and_stop)
        with pytest.raises(InterruptedError):
            command(*flags, f"--model_dir={stopped}")
    status, out, err = command(*flags, f"--model_dir={stopped}")
    assert status == 0, err
    assert "goes on from" in out and "the reference model reads" not in out
    assert_same(tensors(stopped), tensors(model_dir))
    assert timeless(stopped) == timeless(model_dir)


def test_a_model_dir_alone_measures_pairs_that_the_reference_has_read(trained, tmp_path):
    model_dir, _, _ = trained
    copy = str(tmp_path / "copy")
    shutil.copytree(model_dir, copy, ignore=shutil.ignore_patterns("data"))
    status, _, err = command(f"--model_dir={copy}", "--mode=evaluate", "--split=test")
    assert status == 0, err
    (found,) = metrics_of(copy, "test")
    assert found["pairs"] == 6 and found["reward_margin"] > 0
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    status, _, err = command(
        f"--model_dir={copy}",
        "--mode=evaluate",
        "--split=test",
        f"--gin_param=TEST_FILES = '{other}'",
    )
    assert status == 1
    assert err.count("\n") == 1 and "reads the pairs of all splits when training begins" in err


@pytest.mark.parametrize(
    "setting, message",
    [
        (
            "train.objective = @CrossEntropy",
            "@CrossEntropy: the task has pairs of answers; set @DPO",
        ),
        (
            "train.best_metric = 'val_perplexity'",
            "train.best_metric = 'val_perplexity': no evaluation",
        ),
        (
            "Experiment.subword_sampling = @BpeDropout()",
            "the reference model has read pairs cut one",
        ),
        ("Experiment.batches = @packed", "set Experiment.batches = @pairs"),
    ],
)
def test_settings_that_do_not_go_with_pairs_are_refused(trained, tmp_path, setting, message):
    _, flags, _ = trained
    status, out, err = command(*flags, f"--model_dir={tmp_path}/run", f"--gin_param={setting}")
    assert status == 1 and message in err.splitlines()[-1]
    assert "begins at step" not in out
