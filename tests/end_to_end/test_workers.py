"""Two workers by the real command line: the numbers of one device, and what happens when one dies."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.end_to_end.recipes import arguments, command, metrics_of, tensors

pytestmark = pytest.mark.slow

NO_DROPOUT = {"DecoderLM__dropout": 0.0}
TWO = [sys.executable, "scripts/launch_local.py", "--workers=2", "--"]


def workers_of(model_dir):
    """Process ids by worker."""
    found = {}
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                ours = f"--model_dir={model_dir}".encode() in file.read().split(b"\0")
            with open(f"/proc/{process}/environ", "rb") as file:
                environment = file.read()
        except OSError:
            continue
        for index in range(2):
            if ours and b'"index": %d}' % index in environment:
                found[index] = int(process)
    return found


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    """(flags, model_dir) of a run on one device with checkpoints at steps 10 and 20."""
    folder = tmp_path_factory.mktemp("one")
    flags = arguments(str(folder), "decoder_lm", train__report_every_steps=1, **NO_DROPOUT)
    status, _, err = command(*flags, f"--model_dir={folder}/run")
    assert status == 0, err
    return flags, str(folder / "run")


def assert_equals(model_dir, truth):
    for split in ("train", "validation"):
        found, expected = (metrics_of(each, split) for each in (model_dir, truth))
        assert [line["step"] for line in found] == [line["step"] for line in expected]
        losses = [[line["loss"] for line in lines] for lines in (found, expected)]
        np.testing.assert_allclose(*losses, rtol=1e-6)
    found, expected = tensors(model_dir), tensors(truth)
    weights = [name for name in found if name.startswith("model/")]
    assert weights
    for name in weights:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)


def test_a_run_may_go_on_with_another_number_of_workers(one_device, tmp_path):
    # Truth: the run on one device. The first half of this one was on one device, too.
    flags, truth = one_device
    model_dir = str(tmp_path / "run")
    shutil.copytree(truth, model_dir)
    shutil.rmtree(f"{model_dir}/checkpoints/step_20")
    done = subprocess.run(
        [*TWO, *flags, f"--model_dir={model_dir}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"goes on from {model_dir}/checkpoints/step_10" in done.stdout
    assert_equals(model_dir, truth)


def test_the_death_of_a_worker_ends_the_other_and_all_go_on_together(tmp_path):
    flags = arguments(str(tmp_path), "decoder_lm", STEPS=1500, EVAL_EVERY=500, CHECKPOINT_EVERY=20)
    model_dir = tmp_path / "run"
    launcher = subprocess.Popen(
        [*TWO, *flags, f"--model_dir={model_dir}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (model_dir / "checkpoints" / "step_20").exists():
        assert launcher.poll() is None, launcher.stdout.read()
        time.sleep(0.05)
    chief, other = (workers_of(model_dir)[i] for i in (0, 1))
    os.kill(other, signal.SIGKILL)
    said, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGKILL
    assert "error: another worker of the cluster is gone" in said
    assert not os.path.exists(f"/proc/{chief}")

    # Any worker may be told to stop: they agree on it.
    launcher = subprocess.Popen([*TWO, *flags, f"--model_dir={model_dir}"], stdout=subprocess.PIPE)
    reported = len(metrics_of(model_dir))
    while len(metrics_of(model_dir)) <= reported:
        assert launcher.poll() is None
        time.sleep(0.05)
    os.kill(workers_of(model_dir)[1], signal.SIGTERM)
    launcher.communicate(timeout=60)
    assert launcher.returncode == 75
    log = (model_dir / "logs" / "worker_0.log").read_text()
    assert "another worker: stopped and saved at step" in log


def test_the_chief_decodes_and_all_workers_hear_the_figures(tmp_path):
    # Were only the chief to know them, early stopping would end one worker and not the other.
    flags = arguments(str(tmp_path), "encoder_decoder", STEPS=200, train__best_metric="val_chrf")
    flags += ["--gin_param=train.callbacks = [@EarlyStopping, @DecodedEvaluation]"]
    flags += ["--gin_param=EarlyStopping.monitor = 'val_chrf'"]
    flags += [
        "--gin_param=EarlyStopping.mode = 'max'",
        "--gin_param=EarlyStopping.min_delta = 200.0",
    ]
    model_dir = tmp_path / "run"
    done = subprocess.run(
        [*TWO, *flags, f"--model_dir={model_dir}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = metrics_of(model_dir, "validation")
    assert [line["step"] for line in lines if "chrf" in line] == [10, 20]
    assert "EarlyStopping" not in (model_dir / "logs" / "worker_1.log").read_text()
    assert len(os.listdir(model_dir / "predictions")) == 4
