"""What may happen to a run: signals, the end of its time, a broken batch, a full disk."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.end_to_end.recipes import (
    arguments,
    assert_same,
    command,
    metrics_of,
    tensors,
    timeless,
)
from trainers import checkpoints, interruption
from trainers.data.batches import Windows

pytestmark = pytest.mark.slow


def started(flags, model_dir, steps):
    """A process that has reported `steps` steps."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trainers.run", *flags, f"--model_dir={model_dir}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = os.path.join(model_dir, "metrics.jsonl")
    while not (os.path.exists(metrics) and metrics_of(model_dir)[-1:]):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    while metrics_of(model_dir)[-1]["step"] < steps:
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_with_75_and_the_same_command_goes_on(tmp_path, number):
    # Long enough to be still at work when the signal comes, whatever the machine.
    flags = arguments(str(tmp_path), "lstm_lm", STEPS=800, EVAL_EVERY=400)
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    process = started(flags, stopped, steps=5)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert f"{number.name}: saves after the steps at hand and stops; Ctrl-C leaves at once" in said
    (step,) = re.findall(r"stopped and saved at step (\d+) of 800", said)
    assert metrics_of(stopped)[-1]["step"] == int(step) < 800
    assert checkpoints.Checkpoints(stopped / "checkpoints").newest() == int(step)
    assert command(*flags, f"--model_dir={stopped}")[0] == 0
    assert command(*flags, f"--model_dir={whole}")[0] == 0
    assert_same(tensors(stopped), tensors(whole))
    assert timeless(stopped) == timeless(whole)


def test_a_second_control_c_leaves_at_once(tmp_path):
    # In its second step it is in steps that take minutes until their report.
    flags = arguments(
        str(tmp_path), "lstm_lm", STEPS=10**7, EVAL_EVERY=10**7, train__report_every_steps=10**7
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "trainers.run", *flags, f"--model_dir={tmp_path}/run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begins at step 0 from scratch\n"
    time.sleep(5)
    process.send_signal(signal.SIGINT)
    while "SIGINT: saves after" not in process.stderr.readline():
        assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert time.monotonic() - began < 5


def test_the_end_of_its_time_saves_and_ends_with_75(tmp_path, monkeypatch):
    monkeypatch.setattr(interruption, "BEGAN", time.monotonic())
    flags = arguments(str(tmp_path), "lstm_lm", STEPS=10**6, EVAL_EVERY=10**6, MAX_SECONDS=4.0)
    status, _, said = command(*flags, f"--model_dir={tmp_path}/run")
    assert status == 75
    assert time.monotonic() - interruption.BEGAN < 6
    (step,) = re.findall(
        r"MAX_SECONDS = 4.0: stopped and saved at step ([\d,]+) of 1,000,000", said
    )
    newest = checkpoints.Checkpoints(tmp_path / "run" / "checkpoints").newest()
    assert newest == int(step.replace(",", ""))


@pytest.mark.parametrize("limit", ["epochs", "tokens"])
def test_epochs_and_tokens_end_a_run_as_steps_do(tmp_path, limit):
    # Rows of 32 tokens, 4 a step; the last row of an epoch need not be full.
    flags = arguments(str(tmp_path), "decoder_lm", STEPS=None)
    tokens = len((tmp_path / "train.en").read_text(encoding="utf-8"))
    amount = {"epochs": 0.5, "tokens": tokens / 2}[limit]
    status, _, err = command(
        *flags, f"--gin_param=train.{limit} = {amount}", f"--model_dir={tmp_path}/run"
    )
    assert status == 0, err
    (*_, last) = metrics_of(tmp_path / "run", "validation")
    assert last["step"] == pytest.approx(tokens / (4 * 32) / 2, abs=1)


def without(monkeypatch, first, last):
    """Batches `first` to `last` are no more: those after them take their places."""
    batch = Windows.batch

    def others(self, step, *shard):
        return batch(self, step + (last - first + 1) * (self.training and step >= first), *shard)

    monkeypatch.setattr(Windows, "batch", others)


def broken(monkeypatch, first, value):
    """The weights of batches from `first` on, for two, are `value`."""
    batch = Windows.batch

    def one_broken(self, step, *shard):
        features = batch(self, step, *shard)
        if self.training and step in (first, first + 1):
            features["weights"][:] = value
        return features

    monkeypatch.setattr(Windows, "batch", one_broken)


def test_a_loss_that_is_no_number_goes_back_and_leaves_out_those_batches(tmp_path, monkeypatch):
    # Truth: a run whose data never had them.
    flags = arguments(str(tmp_path), "decoder_lm", EVAL_EVERY=10, STEPS=30)
    with monkeypatch.context() as patch:
        broken(patch, 12, np.nan)
        status, _, err = command(*flags, f"--model_dir={tmp_path}/run")
    assert status == 0
    assert "step 13: the loss is nan; goes back to step 10 and leaves out batches 12 to 14" in err
    with monkeypatch.context() as patch:
        without(patch, 12, 14)
        assert command(*flags, f"--model_dir={tmp_path}/truth")[0] == 0
    assert_same(tensors(tmp_path / "run"), tensors(tmp_path / "truth"))
    assert timeless(tmp_path / "run", "train", "validation") == timeless(tmp_path / "truth")
    (event,) = metrics_of(tmp_path / "run", "event")
    assert event == {
        "step": 13,
        "split": "event",
        "loss": None,
        "event": "went back",
        "to_step": 10,
        "skipped_batches": [12, 14],
    }
    # What was left out stays out when the run goes on from after it.
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step_30")
    status, out, _ = command(*flags, f"--model_dir={tmp_path}/run")
    assert status == 0 and "goes on from" in out
    assert_same(tensors(tmp_path / "run"), tensors(tmp_path / "truth"))


def test_a_leap_of_the_loss_goes_back_too(tmp_path, monkeypatch):
    flags = arguments(str(tmp_path), "decoder_lm", EVAL_EVERY=10, STEPS=20, Recovery__max_leap=0.7)
    batch = Windows.batch

    def one_odd(self, step, *shard):
        features = batch(self, step, *shard)
        if self.training and step == 14:
            features["targets"][:] = 1  # a token that is not in the text
        return features

    monkeypatch.setattr(Windows, "batch", one_odd)
    status, _, err = command(*flags, f"--model_dir={tmp_path}/run")
    assert status == 0, err
    (event,) = metrics_of(tmp_path / "run", "event")
    assert event["step"] == 15 and event["skipped_batches"] == [14, 14]
    assert event["loss"] > metrics_of(tmp_path / "run", "train")[1]["loss"] + 0.7


@pytest.mark.parametrize("settings", [{"Recovery__max_rollbacks": 0}, {"EVAL_EVERY": 20}])
def test_switched_off_or_without_a_checkpoint_it_stops_at_once(tmp_path, monkeypatch, settings):
    flags = arguments(str(tmp_path), "decoder_lm", **({"EVAL_EVERY": 10, "STEPS": 20} | settings))
    broken(monkeypatch, 12, np.nan)
    status, _, err = command(*flags, f"--model_dir={tmp_path}/run")
    assert status == 1
    assert err.startswith("error: step 13: the loss is nan; checkpoints up to step")
    assert err.count("\n") == 1


def test_it_goes_back_so_many_times_and_no_more(tmp_path, monkeypatch):
    flags = arguments(
        str(tmp_path), "decoder_lm", EVAL_EVERY=10, STEPS=20, Recovery__max_rollbacks=2
    )
    batch = Windows.batch

    def all_broken(self, step, *shard):
        features = batch(self, step, *shard)
        if self.training and step >= 12:
            features["weights"][:] = np.nan
        return features

    monkeypatch.setattr(Windows, "batch", all_broken)
    status, _, err = command(*flags, f"--model_dir={tmp_path}/run")
    assert status == 1
    assert err.count("goes back to step 10") == 2
    events = metrics_of(tmp_path / "run", "event")
    assert [event["skipped_batches"] for event in events] == [[12, 14], [15, 17]]


def test_a_full_disk_ends_the_run_in_one_line_and_what_was_saved_goes_on(tmp_path, monkeypatch):
    flags = arguments(str(tmp_path), "lstm_lm")
    write = checkpoints.write_meta

    def no_room(path, meta):
        if meta["step"] == 20:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        write(path, meta)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_meta", no_room)
        status, _, err = command(*flags, f"--model_dir={tmp_path}/run")
    assert status == 1
    assert err.startswith("error: [Errno 28] No space left on device") and err.count("\n") == 1
    assert "make room, and the same command goes on" in err
    assert checkpoints.Checkpoints(tmp_path / "run" / "checkpoints").newest_sound() == 10
    assert command(*flags, f"--model_dir={tmp_path}/run")[0] == 0
    assert command(*flags, f"--model_dir={tmp_path}/whole")[0] == 0
    assert_same(tensors(tmp_path / "run"), tensors(tmp_path / "whole"))
