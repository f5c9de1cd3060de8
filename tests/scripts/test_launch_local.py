"""The launcher, with small programs in the place of the trainer."""

import json
import os
import signal
import subprocess
import sys
import time

import launch_local
import pytest

from trainers.settings import ROOT

START = """
import json, os, signal, sys, time
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
"""
STOPS = START + "signal.signal(signal.SIGINT, lambda *_: sys.exit(75)); print('ready'); "
DEAF = START + "signal.signal(signal.SIGINT, signal.SIG_IGN); print('ready'); "


def program(text):
    return [sys.executable, "-c", text]


@pytest.fixture
def launched(tmp_path):
    """A launcher in a process of its own, which gets signals; returned when all workers run."""
    started = []

    def launched(text, workers=2, **options):
        call = f"launch_local.launch({program(text)!r}, {workers}, {str(tmp_path)!r}, **{options})"
        process = subprocess.Popen(
            program(f"import sys, launch_local; sys.exit({call})"),
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/scripts"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        wait_until(lambda: all("ready" in log(tmp_path, index) for index in range(workers)))
        return process

    yield launched
    for process in started:
        process.kill()
        process.communicate()


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def log(folder, index):
    path = folder / f"worker_{index}.log"
    return path.read_text() if path.exists() else ""


def alive(process_id):
    """Whether it is there, and no zombie."""
    try:
        with open(f"/proc/{process_id}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def complaint(capsys, *argv):
    assert launch_local.main(["launch_local.py", *argv]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error.removeprefix("error: ").strip()


def test_workers_know_each_other_and_their_place(tmp_path):
    text = "import os; print(os.environ['TF_CONFIG'], os.getpid(), os.getsid(0))"
    assert launch_local.launch(program(text), 3, str(tmp_path)) == 0
    lines = [log(tmp_path, index).rsplit(maxsplit=2) for index in range(3)]
    configs = [json.loads(config) for config, *_ in lines]
    assert [each["task"] for each in configs] == [{"type": "worker", "index": i} for i in range(3)]
    hosts = configs[0]["cluster"]["worker"]
    assert all(each["cluster"] == {"worker": hosts} for each in configs)
    assert len(set(hosts)) == 3
    assert all(host.startswith("127.0.0.1:") for host in hosts)
    assert all(session == process for _, process, session in lines)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_workers_have_cores_of_their_own(tmp_path):
    text = "import os; print(sorted(os.sched_getaffinity(0)))"
    launch_local.launch(program(text), 2, str(tmp_path / "2"), cores_per_worker=1)
    cores = [json.loads(log(tmp_path / "2", index)) for index in range(2)]
    assert len(cores[0]) == len(cores[1]) == 1
    assert cores[0] != cores[1]


def test_more_workers_than_cores_share_them_all(tmp_path):
    mine = os.sched_getaffinity(0)
    cores = launch_local.share_cores(len(mine) + 1)
    assert cores == [[]] * (len(mine) + 1)


def test_logs_are_appended_to_and_worker_0_is_seen(tmp_path, capfdbinary):
    text = START + "print('out', index); print('err', index, file=sys.stderr)"
    for _ in range(2):
        assert launch_local.launch(program(text), 2, str(tmp_path)) == 0
    for index in range(2):
        assert log(tmp_path, index) == f"out {index}\nerr {index}\n" * 2
    assert capfdbinary.readouterr().out == b"out 0\nerr 0\n" * 2


def test_lines_are_seen_as_they_come(launched):
    process = launched(STOPS + "time.sleep(60)")
    assert process.stdout.readline() == "ready\n"
    assert process.poll() is None


@pytest.mark.parametrize(
    "death, status",
    [("raise ValueError('a clear reason')", 1), ("os.kill(os.getpid(), 9)", 128 + 9)],
)
def test_one_workers_death_ends_the_others_and_shows_why(tmp_path, capfd, death, status):
    (tmp_path / "worker_1.log").write_text("of an earlier run\n")
    text = START + f"print('says', index)\nif index == 1: {death}\ntime.sleep(60)"
    began = time.monotonic()
    assert launch_local.launch(program(text), 3, str(tmp_path), grace_seconds=40) == status
    assert time.monotonic() - began < 20
    error = capfd.readouterr().err
    assert f"worker 1 ended with status {status}" in error
    assert "  says 1\n" in error
    assert ("a clear reason" in error) == (status == 1)
    assert "earlier" not in error


def test_a_worker_that_does_not_stop_is_killed(tmp_path, capfd):
    text = START + (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if index == 1: time.sleep(0.5); sys.exit(3)\n"
        "time.sleep(60)"
    )
    assert launch_local.launch(program(text), 2, str(tmp_path), grace_seconds=0.5) == 3
    assert "still there after 0.5 s, and killed: worker 0" in capfd.readouterr().err


def test_what_a_worker_started_ends_with_it(tmp_path):
    text = START + (
        "import subprocess\nprint(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL).pid)"
    )
    assert launch_local.launch(program(text), 2, str(tmp_path)) == 0
    wait_until(lambda: not any(alive(log(tmp_path, index).strip()) for index in range(2)))


def test_ctrl_c_stops_all(launched):
    process = launched(STOPS + "time.sleep(60)")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 75, error


def test_a_stop_waits_for_the_slower_workers(launched, tmp_path):
    slowly = STOPS.replace(
        "sys.exit(75)", "(time.sleep(1.5 * index), print('saved'), sys.exit(75))"
    )
    process = launched(slowly + "time.sleep(60)")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 75, error
    assert "saved" in log(tmp_path, 1)


def test_sigterm_is_passed_on(launched):
    process = launched(STOPS.replace("SIGINT", "SIGTERM") + "time.sleep(60)")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 75


def test_a_second_ctrl_c_kills_all(launched, tmp_path):
    process = launched(DEAF + "print(os.getpid()); time.sleep(60)")
    wait_until(lambda: all(log(tmp_path, index).count("\n") == 2 for index in range(2)))
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not any(alive(log(tmp_path, index).split()[1]) for index in range(2))


def test_no_worker_outlives_the_launcher(launched, tmp_path):
    process = launched(DEAF + "print(os.getpid()); time.sleep(60)")
    wait_until(lambda: all(log(tmp_path, index).count("\n") == 2 for index in range(2)))
    workers = [log(tmp_path, index).split()[1] for index in range(2)]
    assert all(map(alive, workers))
    process.kill()
    wait_until(lambda: not any(map(alive, workers)))


def test_a_closed_terminal_does_not_stop_the_run(launched, tmp_path):
    process = launched(STOPS + "time.sleep(1); print('x' * 200_000); print('end')")
    process.stdout.close()
    assert process.wait(20) == 0
    assert log(tmp_path, 0).endswith("end\n")


def test_the_trainer_gets_its_flags_and_the_strategy():
    flags = ["--model_dir=runs/a", "--gin_param=STEPS = 3"]
    values, command, log_dir = launch_local.parse(["launch_local.py", "--workers=3", "--", *flags])
    assert values.workers == 3
    strategy = '--gin_param=STRATEGY = "multi_worker"'
    assert command == [sys.executable, "-m", "trainers.run", *flags, strategy]
    assert log_dir == "runs/a/logs"


def test_a_strategy_that_is_set_stays():
    flags = ["--model_dir=runs/a", "--gin_param= STRATEGY='one_device'"]
    _, command, _ = launch_local.parse(["launch_local.py", "--log_dir=l", "--", *flags])
    assert command[3:] == flags


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "no flags for trainers.run; they stand behind --"),
        (["--workers=2", "--"], "no flags for trainers.run"),
        (["--workers=0", "--", "--model_dir=a"], "--workers=0: 0 is not a positive integer"),
        (["--worker=2", "--", "--model_dir=a"], "did you mean --workers?"),
        (["--gin_file=a.gin"], "--gin_file: no such flag; those of trainers.run stand behind --"),
        (["2", "--", "--model_dir=a"], "2: not a flag"),
        (["--", "--gin_file=a.gin"], "--model_dir must be set"),
        (["--", "--modle_dir=a"], "--modle_dir: there is no such flag; did you mean --model_dir?"),
        (["--cores_per_worker=999", "--", "--model_dir=a"], "would need 1998 cores"),
        (["--log_dir=/proc/none", "--", "--model_dir=a"], "see --log_dir"),
    ],
)
def test_errors_are_one_line(capsys, argv, message):
    assert message in complaint(capsys, *argv)


def test_the_trainers_own_error_is_shown(tmp_path):
    command = [sys.executable, "scripts/launch_local.py", "--workers=2", "--"]
    done = subprocess.run(
        [*command, f"--model_dir={tmp_path}", "--gin_file=none.gin"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    # Of whichever worker ends first; the others are ended for it.
    assert "error: none.gin" in done.stdout + done.stderr
    assert "ended with status 1" in done.stderr
    assert sorted(os.listdir(tmp_path / "logs")) == ["worker_0.log", "worker_1.log"]
