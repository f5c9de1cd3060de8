"""The harm that a drill does to a run, by name; see scripts/drill.py.

Each is a function of a Drill that returns whether it met the run as it was meant to.
"""

import contextlib
import dataclasses
import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from trainers.checkpoints import Checkpoints
from trainers.errors import FAILED, RESUMABLE


@dataclasses.dataclass
class Drill:
    """A run that harm is done to.

    Attributes:
      model_dir: of the run.
      flags: of trainers.run.
      workers: how many; more than one by launch_local.py.
      longest: seconds within which a random moment lies.
    """

    model_dir: str
    flags: list
    workers: int = 1
    longest: float = 0.0

    def start(self):
        os.makedirs(self.model_dir, exist_ok=True)
        program = ["-m", "trainers.run"]
        if self.workers > 1:
            program = ["scripts/launch_local.py", f"--workers={self.workers}", "--"]
        command = [sys.executable, *program, f"--model_dir={self.model_dir}", *self.flags]
        with open(f"{self.model_dir}.log", "a", encoding="utf-8") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def clear(self):
        """Removes what an earlier drill left of the run, and nothing else."""
        for path in (self.model_dir, f"{self.model_dir}.moved"):
            shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{self.model_dir}.log")

    def path(self, *names):
        return os.path.join(self.model_dir, *names)


def kill_at_random(drill):
    return kill_when(drill.start(), lambda: False, random.uniform(0, drill.longest))


def kill_in_a_checkpoint(drill):
    # One that was there before has gone when there is another.
    before = Checkpoints(drill.path("checkpoints")).newest() or 0

    def writing():
        names = [
            os.path.basename(path)[5:-4] for path in glob.glob(drill.path("checkpoints", "*.tmp"))
        ]
        return any(int(name) > before for name in names)

    return kill_when(drill.start(), writing)


def kill_in_metrics(drill):
    path = drill.path("metrics.jsonl")
    steps = random.randint(1, 3)
    run = drill.start()
    began, size = time.monotonic(), None

    def grown():
        nonlocal size, steps
        # Before its first report a run writes down anew what stays of the file.
        now = os.path.getsize(path) if os.path.exists(path) else 0
        steps -= size is not None and now > size
        size = now
        return steps <= 0 and time.monotonic() > began

    if not kill_when(run, grown):
        return False
    with open(path, "r+b") as file:
        text = file.read()
        last = text.rstrip(b"\n").rfind(b"\n") + 1
        file.truncate(last + (len(text) - last) // 2)
    return True


def kill_in_a_store(drill):
    shutil.rmtree(drill.path("data"), ignore_errors=True)
    return kill_when(drill.start(), lambda: glob.glob(drill.path("data", "*.tmp")))


def kill_in_the_export(drill):
    shutil.rmtree(drill.path("export"), ignore_errors=True)
    return kill_when(drill.start(), lambda: glob.glob(drill.path(".export-*", "new", "*")))


def stop_at_random(drill):
    run = drill.start()
    try:
        run.wait(random.uniform(0, drill.longest))
        return False
    except subprocess.TimeoutExpired:
        run.terminate()
    return run.wait() in (RESUMABLE, -signal.SIGTERM)


def damage(harm):
    """A fault that harms the newest checkpoint by a function of its folder."""

    def damage_newest(drill):
        saved = Checkpoints(drill.path("checkpoints"))
        if len(saved.steps()) < 2:
            kill_when(drill.start(), lambda: len(saved.steps()) >= 2)
        newest = saved.newest()
        harm(saved.path(newest))
        lines = []
        found = saved.newest_sound(lines.append)
        return found is not None and found < newest and len(lines) == 1

    return damage_newest


def truncate(path):
    data = data_file(path)
    os.truncate(data, os.path.getsize(data) // 2)


def flip_a_bit(path):
    with open(data_file(path), "r+b") as file:
        at = random.randrange(os.path.getsize(file.name))
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << random.randrange(8)]))


def remove_index(path):
    os.remove(os.path.join(path, "state.index"))


def data_file(path):
    return random.choice(glob.glob(os.path.join(path, "state.data-*")))


def fill_the_disk(drill):
    """Runs on a tmpfs with room for half a checkpoint more, and goes on where there is room."""
    saved = Checkpoints(drill.path("checkpoints"))
    if not saved.steps():
        kill_in_a_checkpoint(drill)
    size = sum(os.path.getsize(path) for path in glob.glob(saved.path(saved.newest() or 0) + "/*"))
    before = saved.newest_sound(lambda line: None)
    moved = drill.model_dir + ".moved"
    os.rename(drill.model_dir, moved)
    os.mkdir(drill.model_dir)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", drill.model_dir], check=True)
    try:
        shutil.copytree(moved, drill.model_dir, dirs_exist_ok=True)
        used = shutil.disk_usage(drill.model_dir).used
        limit = f"remount,size={used + max(size // 2, 1 << 16)}"
        subprocess.run(["mount", "-o", limit, drill.model_dir], check=True)
        run = drill.start()
        failed = run.wait() == FAILED
        with open(f"{drill.model_dir}.log", encoding="utf-8") as log:
            told = "No space left on device" in log.read().splitlines()[-1]
        kept = saved.newest_sound() == before
        shutil.rmtree(moved)
        shutil.copytree(drill.model_dir, moved)
    finally:
        subprocess.run(["umount", drill.model_dir], check=True)
        os.rmdir(drill.model_dir)
        os.rename(moved, drill.model_dir)
    return failed and told and kept


FAULTS: dict[str, Callable] = {
    "kill": kill_at_random,
    "checkpoint": kill_in_a_checkpoint,
    "metrics": kill_in_metrics,
    "store": kill_in_a_store,
    "export": kill_in_the_export,
    "stop": stop_at_random,
    "truncate": damage(truncate),
    "flip": damage(flip_a_bit),
    "index": damage(remove_index),
    "disk": fill_the_disk,
}


def kill_when(run, moment, seconds=600.0):
    """Kills a run, or one of its workers, when `moment()` is true or after `seconds`.

    Returns:
      whether it was there to be killed.
    """
    end = time.monotonic() + seconds
    while run.poll() is None:
        if moment() or time.monotonic() > end:
            os.kill(random.choice(workers_of(run) or [run.pid]), signal.SIGKILL)
            return run.wait() in (-signal.SIGKILL, 128 + signal.SIGKILL)
        time.sleep(0.0005)
    return False


def workers_of(run):
    """Processes that a launcher has started."""
    found = subprocess.run(
        ["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split()]
