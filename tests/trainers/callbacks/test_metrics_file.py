import json
import math

from trainers.callbacks import metrics_file
from trainers.callbacks.metrics_file import MetricsFile


def write(path, start, steps):
    callback = MetricsFile(str(path), start)
    for step in steps:
        callback.on_train_batch_end(step, {"learning_rate": 0.1, "loss": 1.0 / step, "tokens": 9.0})
        if step % 20 == 0:
            callback.on_epoch_end(0, {"loss": 9.0, "val_loss": 2.0, "val_accuracy": 0.5})


def test_reports_and_evaluations_are_a_line_each(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, 0, [10, 20])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    seconds = [line.pop("seconds") for line in lines]
    assert 0 <= seconds[0] <= seconds[1] <= seconds[2] < 60
    assert lines == [
        {"step": 10, "split": "train", "loss": 0.1, "learning_rate": 0.1, "tokens": 9},
        {"step": 20, "split": "train", "loss": 0.05, "learning_rate": 0.1, "tokens": 9},
        {"step": 20, "split": "validation", "loss": 2.0, "accuracy": 0.5},
    ]
    assert list(lines[0]) == ["step", "split", "loss", "learning_rate", "tokens"]


def test_a_run_that_goes_on_has_every_step_once(tmp_path):
    path, whole = tmp_path / "metrics.jsonl", tmp_path / "whole.jsonl"
    write(path, 0, [10, 20, 30])
    with open(path, "a") as file:
        file.write('{"step": 40, "spl')  # killed while writing
    write(path, 20, [30, 40])
    write(whole, 0, [10, 20, 30, 40])
    assert timeless(path) == timeless(whole)
    assert metrics_file.read(str(path))[-1]["step"] == 40


def timeless(path):
    return [{**line, "seconds": None} for line in metrics_file.read(str(path))]


def test_time_goes_on_where_the_process_before_was_stopped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 10, "split": "train", "seconds": 100.0}\n'
        '{"step": 20, "split": "train", "seconds": 200.0}\n'
    )
    write(path, 10, [20])
    assert [int(line["seconds"]) for line in metrics_file.read(str(path))] == [100, 100, 100]


def test_only_figures_that_are_new_or_other_are_added(tmp_path):
    path = str(tmp_path / "metrics.jsonl")
    write(path, 0, [20])
    before = metrics_file.read(path)
    known = {"loss": 2.0 + 1e-9, "accuracy": 0.5}  # measured again, in another order of sums
    assert metrics_file.add(path, {"step": 20, "split": "validation"}, known) == {}
    assert metrics_file.read(path) == before
    found = {**known, "bleu": 3.0, "perplexity": math.inf}
    new = {"bleu": 3.0, "perplexity": math.inf}
    assert metrics_file.add(path, {"step": 20, "split": "validation"}, found) == new
    assert metrics_file.add(path, {"step": 20, "split": "validation"}, found) == {}
    assert metrics_file.add(path, {"step": 20, "split": "validation"}, {"bleu": 4.0}) == {
        "bleu": 4.0
    }  # by beams, say
    assert metrics_file.add(path, {"step": 20, "split": "test"}, known) == known
    added = metrics_file.read(path)[len(before) :]
    assert [line["split"] for line in added] == ["validation", "validation", "test"]
    assert added[0] == {"step": 20, "split": "validation", "bleu": 3.0, "perplexity": None}


def test_json_knows_no_infinity():
    line = metrics_file.as_line({"step": 1, "loss": math.nan, "perplexity": math.inf, "x": 1.5})
    assert json.loads(line) == {"step": 1, "loss": None, "perplexity": None, "x": 1.5}
