"""Evaluation by decoding, by the real command line; truth for its figures is sacreBLEU's own."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.end_to_end.recipes import arguments, command, metrics_of
from tests.trainers.callbacks.test_tensorboard import points
from trainers.checkpoints import Checkpoints, read_meta

DECODED = {
    "parallel_files/text_to_text.metrics": ["bleu", "chrf", "ter", "exact_match"],
    "DecodedEvaluation.max_new_tokens": 30,
    "DecodedEvaluation.every_evaluations": 2,
    "train.best_metric": "val_chrf",
    "Experiment.checkpoint": "best",
    "train.ema_decay": 0.9,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(model_dir, output) of a run with evaluations at 4, 8, 12 and 14, the 2nd and last decoded."""
    folder = tmp_path_factory.mktemp("decoded")
    settings = {name.replace(".", "__"): value for name, value in DECODED.items()}
    flags = arguments(str(folder), "encoder_decoder", STEPS=14, EVAL_EVERY=4, **settings)
    flags += ["--gin_param=train.callbacks = [@EarlyStopping, @DecodedEvaluation]"]
    flags += [
        "--gin_param=EarlyStopping.monitor = 'val_chrf'",
        "--gin_param=EarlyStopping.mode = 'max'",
    ]
    status, out, err = command(*flags, f"--model_dir={folder}/run")
    assert status == 0, err
    return str(folder / "run"), out


def predictions(model_dir, name):
    with open(f"{model_dir}/predictions/{name}.jsonl", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    with open(f"{model_dir}/predictions/{name}.json", encoding="utf-8") as file:
        return lines, json.load(file)


def sacrebleu(folder, lines):
    """{name: (figure, signature)} of the command line on a file of predictions."""
    for name, texts in {
        "hyp": [line["prediction"] for line in lines],
        "ref": [line["references"][0] for line in lines],
    }.items():
        (folder / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    words = ["ref", "-i", "hyp", "-m", "bleu", "chrf", "ter", "-f", "json", "-w", "10"]
    done = subprocess.run(
        [sys.executable, "-m", "sacrebleu", *words], cwd=folder, capture_output=True, check=True
    )
    names = {"BLEU": "bleu", "chrF2": "chrf", "TER": "ter"}
    said = json.loads(done.stdout)
    return {names[one["name"]]: (one["score"], one["signature"]) for one in said}


def test_figures_are_in_metrics_tensorboard_and_checkpoints(trained):
    model_dir, out = trained
    lines = metrics_of(model_dir, "validation")
    assert [line["step"] for line in lines] == [4, 8, 12, 14]
    assert [line["step"] for line in lines if "chrf" in line] == [8, 14]
    assert re.search(r"step 8 of 14: .* val_bleu .* val_chrf .* val_exact_match ", out)
    assert {("validation", "chrf", 8), ("validation", "decoded/0", 14)} <= set(
        points(f"{model_dir}/tensorboard")
    )
    meta = read_meta(f"{model_dir}/checkpoints/step_14")
    assert meta["metrics"]["val_chrf"] == lines[-1]["chrf"]
    saved = Checkpoints(f"{model_dir}/checkpoints")
    figures = {line["step"]: line["chrf"] for line in lines if "chrf" in line}
    assert saved.best() == max(figures, key=figures.get)


@pytest.mark.parametrize("step", [8, 14])
def test_predictions_of_training_have_the_figures_of_sacrebleus_command_line(
    trained, tmp_path, step
):
    model_dir, _ = trained
    lines, about = predictions(model_dir, f"validation-{step}")
    assert len(lines) == about["examples"] == 30
    line = next(line for line in metrics_of(model_dir, "validation") if line["step"] == step)
    for name, (figure, signature) in sacrebleu(tmp_path, lines).items():
        assert line[name] == about["figures"][name] == pytest.approx(figure, abs=1e-9)
        assert about["signatures"][name] == signature
    exact = [line["exact_match"] for line in lines]
    assert about["figures"]["exact_match"] == pytest.approx(sum(exact) / len(exact))


def test_evaluation_decodes_the_chosen_checkpoint_and_finds_what_training_found(trained, tmp_path):
    model_dir, _ = trained
    copy = str(tmp_path / "copy")
    shutil.copytree(model_dir, copy)
    shutil.rmtree(f"{copy}/predictions")
    best = Checkpoints(f"{copy}/checkpoints").best()
    status, out, err = command(f"--model_dir={copy}", "--mode=evaluate")
    assert status == 0, err
    assert re.match(
        rf"validation, step {best}: loss .*, bleu .*, chrf .*, ter .*, exact_match ", out
    )
    assert "\n  bleu: nrefs:1|case:mixed|" in out
    assert os.listdir(f"{copy}/predictions")
    # The averages of the weights are what both decode by.
    name = f"validation-{best}"
    assert predictions(copy, name) == predictions(model_dir, name)
    assert metrics_of(copy) == metrics_of(model_dir)  # nothing new


@pytest.mark.slow
def test_beams_and_another_split_by_hand(trained, tmp_path):
    model_dir, _ = trained
    copy = str(tmp_path / "copy")
    shutil.copytree(model_dir, copy)
    flags = ["DecodedEvaluation.num_beams = 2", "DecodedEvaluation.max_examples = 5"]
    status, _, err = command(
        f"--model_dir={copy}",
        "--mode=evaluate",
        "--split=test",
        *(f"--gin_param={flag}" for flag in flags),
    )
    assert status == 0, err
    (line,) = metrics_of(copy, "test")
    lines, about = predictions(copy, f"test-{line['step']}")
    assert len(lines) == 5 and about["settings"]["num_beams"] == 2
    assert line["chrf"] == about["figures"]["chrf"]
    assert line["chrf"] == pytest.approx(sacrebleu(tmp_path, lines)["chrf"][0], abs=1e-9)
    assert ("test", "chrf", line["step"]) in points(f"{copy}/tensorboard")


@pytest.mark.parametrize(
    "setting, problem",
    [
        (
            "parallel_files/text_to_text.metrics = ['blue']",
            "'blue' is no metric; did you mean bleu?",
        ),
        ("train.best_metric = 'val_chrm'", "did you mean val_chrf?"),
        ("DecodedEvaluation.num_beams = -1", "DecodedEvaluation: num_beams is -1"),
        ("DecodedEvaluation.beams = 1", "DecodedEvaluation has no beams; did you mean num_beams?"),
    ],
)
def test_what_is_wrong_is_one_line_before_training_begins(tmp_path, setting, problem):
    flags = arguments(str(tmp_path), "encoder_decoder")
    status, out, err = command(*flags, f"--model_dir={tmp_path}/run", f"--gin_param={setting}")
    assert status == 1
    assert problem in err and err.count("\n") == 1
    assert "begins at step 0" not in out and not os.path.exists(tmp_path / "run" / "data")
