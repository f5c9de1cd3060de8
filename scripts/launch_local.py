"""Runs several workers on one machine, as a cluster would run one on each of its machines.

python scripts/launch_local.py --workers=2 -- \\
    --gin_file=configs/recipes/quickstart.gin --model_dir=runs/two

What stands behind `--` are flags of trainers.run. Worker 0 is seen here, and each worker writes
to a log of its own, which is never wiped. Ctrl-C stops all workers in good order, once more kills
them. The exit status is that of trainers.run; when a worker fails the others are ended.
"""

import ctypes
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from absl import flags

from trainers import run
from trainers.errors import RESUMABLE, UserError
from trainers.settings import did_you_mean

FINE = (None, 0, RESUMABLE)
POLL_SECONDS = 0.05
LAST_LINES = 20
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def define_flags():
    values = flags.FlagValues()
    flags.DEFINE_integer("workers", 2, "How many.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "cores_per_worker",
        None,
        "Cores of its own for each worker. Without: an equal share, where there are enough.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_string(
        "log_dir", None, "Folder of worker_<i>.log. Without: <model_dir>/logs.", flag_values=values
    )
    flags.DEFINE_float(
        "grace_seconds",
        10.0,
        "From the first worker's stop or failure until the others are killed.",
        lower_bound=0.0,
        flag_values=values,
    )
    return values


def parse(argv):
    """(this script's flags, what to run, folder of the logs)"""
    split = argv.index("--") if "--" in argv else len(argv)
    values = define_flags()
    try:
        _, *rest = values(argv[:split])
    except flags.UnrecognizedFlagError as error:
        name = f"--{error.flagname.lstrip('-')}"
        hint = did_you_mean(name, [f"--{known}" for known in values])
        raise UserError(
            f"{name}: no such flag{hint or '; those of trainers.run stand behind --'}"
        ) from error
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error
    if rest:
        raise UserError(f"{rest[0]}: not a flag")
    trainer_flags = argv[split + 1 :]
    if not trainer_flags:
        raise UserError(
            "no flags for trainers.run; they stand behind --, as in "
            "launch_local.py --workers=2 -- --gin_file=... --model_dir=..."
        )
    trainer = run.parse_flags(["trainers.run", *trainer_flags])
    command = [sys.executable, "-m", "trainers.run", *trainer_flags]
    if "STRATEGY" not in [setting.partition("=")[0].strip() for setting in trainer.gin_param]:
        command.append('--gin_param=STRATEGY = "multi_worker"')
    log_dir = values.log_dir or os.path.join(trainer.model_dir, "logs")
    return values, command, os.path.expanduser(log_dir)


def launch(command, workers, log_dir, cores_per_worker=None, grace_seconds=10.0):
    """Runs a command in several processes that know each other by TF_CONFIG.

    Args:
      command: what each worker runs, a list of words.
      workers: how many.
      log_dir: folder of worker_<i>.log, which are appended to.
      cores_per_worker: cores of its own for each; None for an equal share, if there is one.
      grace_seconds: from the first worker's stop or failure until the others are killed.

    Returns:
      Exit status: the first failed worker's (128 + n where signal n ended it), else 75 where
      one has stopped, else 0; 130 after a second Ctrl-C.

    Raises:
      UserError: there are not so many cores, or the logs cannot be written.
    """
    cores = share_cores(workers, cores_per_worker)
    try:
        os.makedirs(log_dir, exist_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; see --log_dir") from error

    signals = []
    handlers = {
        number: signal.signal(number, lambda number, _: signals.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    team = []
    try:
        for index, config in enumerate(tf_configs(workers)):
            log = os.path.join(log_dir, f"worker_{index}.log")
            team.append(Worker(index, command, config, cores[index], log))
        return watch(team, signals, grace_seconds)
    finally:
        for worker in team:
            worker.kill()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def watch(team, signals, grace_seconds):
    """Waits for the workers, passes a stop on, ends what a failure leaves; the exit status."""
    failed, told, deadline = None, False, math.inf
    while True:
        statuses = [worker.status() for worker in team]
        if failed is None and any(status not in FINE for status in statuses):
            failed = next(worker for worker in team if worker.status() not in FINE)
            failed.report()
            send(team, signal.SIGTERM)
        if None not in statuses or time.monotonic() > deadline:
            break
        if any(statuses):  # where one has stopped all will: they stop after the same step
            deadline = min(deadline, time.monotonic() + grace_seconds)
        if signal.SIGINT in signals[1:]:
            say("all workers are killed")
            return 128 + signal.SIGINT
        if signals and not told:
            say("all workers are asked to stop; Ctrl-C kills them")
            send(team, signals[0])
            told = True
        time.sleep(POLL_SECONDS)
    if None in statuses:
        late = [str(index) for index, status in enumerate(statuses) if status is None]
        say(f"still there after {grace_seconds:g} s, and killed: worker {', '.join(late)}")
    if failed:
        return failed.status()
    return RESUMABLE if RESUMABLE in statuses else 0


def send(team, number):
    for worker in team:
        if worker.status() is None:
            worker.process.send_signal(number)


class Worker:
    """A process, with what it started, in a session of its own: a terminal's Ctrl-C misses it."""

    def __init__(self, index, command, tf_config, cores, log):
        self.index = index
        self.log = log
        launcher = os.getpid()
        libc = ctypes.CDLL(None)

        def before_it_runs():
            # Not SIGTERM: a worker that waits for the others in vain might not come to hear it.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != launcher:
                os._exit(1)
            if cores:
                os.sched_setaffinity(0, cores)

        with open(log, "ab") as file:
            self.log_begin = file.tell()
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "TF_CONFIG": json.dumps(tf_config), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file if index else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=before_it_runs,
            )
        self.reader = threading.Thread(target=self.show, daemon=True)
        if self.process.stdout:
            self.reader.start()

    def show(self):
        """Copies what it prints to the log and the terminal."""
        terminal = sys.stdout.buffer
        with open(self.log, "ab", buffering=0) as log:
            for line in self.process.stdout:
                log.write(line)
                try:
                    if terminal:
                        terminal.write(line)
                        terminal.flush()
                except OSError:  # it has been closed; the run goes on
                    terminal = None

    def status(self):
        """None while it runs; 128 + n when signal n ended it."""
        if self.process.returncode is None:
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if not os.waitid(os.P_PID, self.process.pid, options):
                return None
            self.kill()
        code = self.process.returncode
        return 128 - code if code < 0 else code

    def kill(self):
        """Ends it and what it started. Its group is its own until it has been waited for."""
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            if self.process.stdout:
                self.reader.join(1.0)

    def report(self):
        with open(self.log, "rb") as file:
            file.seek(self.log_begin)
            lines = file.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        say(f"worker {self.index} ended with status {self.status()}; {self.log} ends with")
        print("".join(f"  {line}\n" for line in lines), end="", file=sys.stderr, flush=True)


def tf_configs(workers):
    """TF_CONFIG of each worker, on ports that are free."""
    sockets = [socket.socket() for _ in range(workers)]  # together, or a port might come twice
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return [
        {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        for index in range(workers)
    ]


def share_cores(workers, cores_per_worker=None):
    """Cores of each worker; empty where they go without cores of their own."""
    cores = sorted(os.sched_getaffinity(0))
    each = cores_per_worker or len(cores) // workers
    if each * workers > len(cores):
        raise UserError(
            f"--cores_per_worker={each}: {workers} workers would need {each * workers} cores, "
            f"and there are {len(cores)}"
        )
    return [cores[index * each : (index + 1) * each] for index in range(workers)]


def say(message):
    print(f"launch_local: {message}", file=sys.stderr, flush=True)


def main(argv):
    """Runs a command line; returns the exit status."""
    try:
        if {"--help", "-h"} & set(argv[1 : argv.index("--") if "--" in argv else None]):
            print(f"{__doc__}\n{define_flags().get_help()}")
            return 0
        values, command, log_dir = parse(argv)
        return launch(
            command, values.workers, log_dir, values.cores_per_worker, values.grace_seconds
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
