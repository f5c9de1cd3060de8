import os
import subprocess
import sys

import pytest

from trainers.settings import ROOT

BENCHMARKS = os.path.join(ROOT, "scripts", "benchmarks")
sys.path.insert(0, BENCHMARKS)  # as scripts/benchmark.py does

import command_line  # noqa: E402 - found in the folder above
import store  # noqa: E402
import turns  # noqa: E402


def benchmark(*arguments):
    return subprocess.run(
        [sys.executable, "scripts/benchmark.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_work_that_does_not_exist_is_refused_by_name():
    done = benchmark("--only=help,helps")
    assert done.returncode
    assert "--only: 'helps' is none of train_step, store, help" in done.stdout + done.stderr


def test_without_torch_it_says_what_to_install():
    done = benchmark("--only=train_step", "--peer_python=/bin/false")
    assert done.returncode
    assert "pip install -e '.[benchmark]'" in done.stdout + done.stderr


def test_help_is_a_row_of_the_table():
    done = benchmark("--only=help", "--repeats=1")
    assert not done.returncode, done.stderr
    assert done.stdout.splitlines()[-1].startswith("| help | 0.")


def test_store_is_read_from_a_far_step(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SECONDS", 0.2)
    store.write_store(tmp_path, 100_000)
    found = store.measure(tmp_path, batch_size=4, length=32)
    assert found["tokens_per_second"] > 0
    assert found["first_batch_seconds"] > 0


def test_sides_take_turns(tmp_path):
    side = tmp_path / "side.py"
    side.write_text("import sys, turns\nturns.serve(lambda: None, int(sys.argv[1]))\n")
    command = ["env", f"PYTHONPATH={BENCHMARKS}", sys.executable, str(side)]
    first, second = turns.alternate([[*command, "10"], [*command, "20"]], repeats=3, seconds=0.01)
    assert len(first) == len(second) == 3
    assert min(*first, *second) > 0


def test_a_run_that_ends_too_early_says_what_it_printed():
    with pytest.raises(SystemExit, match="did not get there:\nerror: "):
        command_line.seconds_until("configs/recipes/none.gin", [], lambda record: True)
