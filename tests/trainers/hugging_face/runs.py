"""Commands on runs that begin from checkpoints."""

import subprocess
import sys

from trainers.settings import ROOT

NO_EXPORT = "--gin_param=train.export_at_end = False"
EXPORT = "--gin_param=train.export_at_end = True"


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, *script.split(), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def recipe_from(source, folder):
    """A run in folder/run that begins from a checkpoint, on a text made here."""
    (folder / "train.txt").write_text("hello there, how are you\n" * 50)
    return [
        "--gin_file=configs/recipes/lm_files.gin",
        f"--model_dir={folder / 'run'}",
        f'--gin_param=INIT = "{source}"',
        f'--gin_param=TRAIN_FILES = "{folder / "train.txt"}"',
        "--gin_param=SEQUENCE_LENGTH = 32",
        "--gin_param=BATCH_SIZE = 2",
        "--gin_param=EVAL_EVERY = 2",
        "--gin_param=train.callbacks = []",
        NO_EXPORT,
    ]


def begun_from(source, folder, *more):
    """Begins a run in folder/run from a checkpoint, moves that away, and goes on to an export."""
    done = run("-m trainers.run", *recipe_from(source, folder), *more, "--gin_param=STEPS = 2")
    assert done.returncode == 0, done.stderr
    assert f"with the weights of {source}" in done.stdout
    source.rename(folder / "away")
    done = run("-m trainers.run", f"--model_dir={folder / 'run'}", "--gin_param=STEPS = 4", EXPORT)
    assert done.returncode == 0, done.stderr
    assert "exported step 4" in done.stdout
