"""Whole processes of trainers.run: its help, its first step, and a figure of a run reached."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
RUN = [sys.executable, "-m", "trainers.run"]
# What suits Tiny Shakespeare in a tenth of the recipe's steps.
SHAKESPEARE = ["Muon.adam_ratio = 1.0", "Muon.adam_beta_2 = 0.99"]


def help_seconds(repeats):
    """Of `python -m trainers.run --help`, a list."""
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        subprocess.run([*RUN, "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - begin)
    return found


def seconds_until(recipe, settings, reached, data_dir=None):
    """Seconds from the start of a run in a new model_dir until a line of its metrics passes.

    Args:
      recipe: path below the repository.
      settings: texts for --gin_param.
      reached: function of a metrics.jsonl record to bool.
      data_dir: folder of prepared data; None for one that is empty.

    Returns:
      (seconds, the record).

    Raises:
      SystemExit: the run ended before.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [*RUN, f"--gin_file={recipe}", f"--model_dir={folder}/run"]
        command += [f"--data_dir={data_dir or folder + '/data'}"]
        command += [f"--gin_param={setting}" for setting in settings]
        begin = time.perf_counter()
        with open(os.path.join(folder, "output"), "w+", encoding="utf-8") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
            try:
                while True:
                    ended = process.poll() is not None  # asked first: its last line counts
                    for record in records(os.path.join(folder, "run", "metrics.jsonl")):
                        if reached(record):
                            return time.perf_counter() - begin, record
                    if ended:
                        output.seek(0)
                        raise SystemExit(f"{' '.join(command)} did not get there:\n{output.read()}")
                    time.sleep(0.05)
            finally:
                process.terminate()
                process.wait()


def records(path):
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def startup_seconds(repeats):
    """To the first trained step of the quickstart: (seconds from nothing, list with its data)."""

    def once(data_dir):
        settings = ["train.report_every_steps = 1"]
        recipe = "configs/recipes/quickstart.gin"
        return seconds_until(recipe, settings, lambda r: r["split"] == "train", data_dir)[0]

    with tempfile.TemporaryDirectory() as data_dir:
        return once(data_dir), [once(data_dir) for _ in range(repeats)]


def shakespeare_seconds(path, target, steps, rows):
    """(seconds, loss) of our recipe on Tiny Shakespeare, until validation loss <= `target`.

    Args:
      path: of the text.
      target: nats a character.
      steps: after which it is evaluated.
      rows: of a batch.
    """
    settings = [f"TRAIN_FILES = {path!r}", f"STEPS = {steps}", f"EVAL_EVERY = {steps}"]
    settings += [f"BATCH_SIZE = {rows}", *SHAKESPEARE]

    def reached(record):
        return record["split"] == "validation" and record["loss"] <= target

    seconds, record = seconds_until("configs/recipes/shakespeare_chars.gin", settings, reached)
    return seconds, record["loss"]


def peer_shakespeare_seconds(python, path):
    """(seconds, loss) of the whole process of nanogpt_torch.py."""
    here = os.path.dirname(os.path.abspath(__file__))
    begin = time.perf_counter()
    done = subprocess.run(
        [python, os.path.join(here, "nanogpt_torch.py"), path],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return time.perf_counter() - begin, float(done.stdout.split()[-1])


def median_of(figures):
    return f"{statistics.median(figures):.2f} s ({min(figures):.2f} to {max(figures):.2f})"
