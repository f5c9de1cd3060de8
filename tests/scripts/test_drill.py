"""What a drill refuses, and what it removes."""

import subprocess
import sys

import pytest

from trainers.settings import ROOT


def drill(folder, faults):
    return subprocess.run(
        [sys.executable, "scripts/drill.py", f"--work_dir={folder}", f"--faults={faults}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    """A folder with something of its user's, and with what a drill has left."""
    for name in ("mine", "alone", "harmed", "harmed.moved"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").touch()
    for name in ("alone.log", "harmed.log"):
        (tmp_path / name).write_text("earlier\n")
    return tmp_path


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ("kil=1", "--faults: 'kil=1' is not NAME=HOW_OFTEN of kill, checkpoint,"),
        ("kill", "--faults: 'kill' is not NAME=HOW_OFTEN of"),
        ("kill=0,flip=0", "--faults: no fault is to be tried"),
        ("", "--faults: no fault is to be tried"),
    ],
)
def test_faults_that_cannot_be_are_one_line_and_remove_nothing(folder, faults, message):
    before = sorted(folder.rglob("*"))
    done = drill(folder, faults)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(message)  # TensorFlow says things before it
    assert "Traceback" not in done.stderr and not done.stdout
    assert sorted(folder.rglob("*")) == before


def test_what_is_not_of_a_drill_stays(folder):
    done = drill(folder, "kill=1")  # of a run without a recipe, which ends at once
    assert done.returncode == 1 and "a run failed, see the logs in" in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["alone", "alone.log", "mine"]
    assert (folder / "mine" / "metrics.jsonl").exists()
    assert "earlier" not in (folder / "alone.log").read_text()
    assert "--gin_file must be set" in (folder / "alone.log").read_text()
