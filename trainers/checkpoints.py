"""Checkpoints of a run: written whole or not at all, checked when read, kept newest and best.

checkpoints/step_<N>/ holds
  state.index, state.data-*  a tf.train.Checkpoint
  meta.json                  step, metrics, the trainer's notes, and the SHA-256 of each file
checkpoints/step_<N>.damaged is one that training went back from.
"""

import json
import math
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

from trainers.disk import Settling, digest, synchronise
from trainers.errors import UserError
from trainers.text_metrics.table import better

META = "meta.json"
STATE = "state"
WRITTEN = "*/*.data-*-of-[0-9][0-9][0-9][0-9][0-9]"  # parts that TensorFlow has yet to put together


class Checkpoints:
    """The checkpoints in a folder.

    Args:
      folder: made with the first checkpoint.
      keep: how many of the newest to keep.
      best_metric: name of the metric whose best value marks the best, which is its least or its
        greatest; see text_metrics/table.py. None for that of the run that wrote the newest.
      writes: whether this process writes them, the chief of a cluster.
      keep_best: how many of the best to keep beside them.
    """

    def __init__(self, folder, keep=3, best_metric=None, writes=True, keep_best=1):
        self.folder = folder
        self.keep = max(keep, 1)
        self.keep_best = max(keep_best, 1)
        self.best_metric = best_metric
        self.writes = writes
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.settling = Settling()
        self.pending = None

    def steps(self):
        """Steps of the checkpoints that are there, ascending."""
        names = os.listdir(self.folder) if os.path.isdir(self.folder) else []
        return sorted(int(name[5:]) for name in names if re.fullmatch(r"step_\d+", name))

    def newest(self):
        return max(self.steps(), default=None)

    def notes(self, step):
        """What `save` was given; {} for no step."""
        return {} if step is None else read_meta(self.path(step)).get("notes", {})

    def path(self, step):
        return os.path.join(self.folder, f"step_{step}")

    def save(self, state, step, metrics, notes=None):
        """Writes a checkpoint and removes those that need not be kept.

        Args:
          state: tf.train.Checkpoint, or a TrainState that is gathered.
          step: int.
          metrics: {name: float}, kept with it.
          notes: what the trainer wants to know when it goes on from here, for JSON.
        """
        self.save_soon(state, step, metrics, notes)
        self.wait()

    def save_soon(self, state, step, metrics, notes=None):
        """As `save`, and returns when the state may change: the rest is done by a thread.

        The checkpoint is there after `wait`, which every other method that needs it calls; an
        error of the thread is raised there.
        """
        if not self.writes:
            return
        self.wait()
        temporary = os.path.join(self.folder, f"step_{step}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        os.makedirs(temporary)
        with self.settling.early(os.path.join(temporary, WRITTEN)):
            state.write(os.path.join(temporary, STATE))
        meta = {"step": step, "metrics": metrics, "notes": notes or {}}
        meta["best_metric"] = self.best_metric
        self.pending = self.thread.submit(self.put_in_place, temporary, meta)

    def wait(self):
        if self.pending:
            pending, self.pending = self.pending, None
            pending.result()

    def put_in_place(self, temporary, meta):
        names = sorted(os.listdir(temporary))
        digests = self.settling.digests(os.path.join(temporary, name) for name in names)
        files = dict(zip(names, digests, strict=True))
        write_meta(temporary, meta | {"files": files})
        synchronise(temporary)
        path = self.path(meta["step"])
        shutil.rmtree(path, ignore_errors=True)
        os.rename(temporary, path)
        synchronise(self.folder)
        self.remove_old()

    def annotate(self, step, metrics, notes):
        """Gives a checkpoint other metrics and notes."""
        self.wait()
        if self.writes:
            path = self.path(step)
            write_meta(path, read_meta(path) | {"metrics": metrics, "notes": notes})
            synchronise(path)
            self.remove_old()

    def remove_old(self):
        kept = {*self.steps()[-self.keep :], *self.ranked()[: self.keep_best]}
        for step in self.steps():
            if step not in kept:
                shutil.rmtree(self.path(step))
        for name in os.listdir(self.folder):
            if name.endswith(".tmp"):  # of a process that was killed
                shutil.rmtree(os.path.join(self.folder, name))

    def set_aside(self, step):
        """Renames those after `step`, which are damaged where training goes on from `step`.

        Among the newest they would stay, and what training writes before their steps would go.
        """
        for later in self.steps():
            if self.writes and later > step:
                aside = f"{self.path(later)}.damaged"
                shutil.rmtree(aside, ignore_errors=True)
                os.rename(self.path(later), aside)

    def best(self):
        """The step of the best checkpoint; None if none has been evaluated."""
        return next(iter(self.ranked()), None)

    def ranked(self):
        """Steps of the checkpoints whose evaluation found a number, the best first."""
        metas = self.metas()
        metric = self.ranked_by(metas)
        found = {step: meta.get("metrics", {}).get(metric) for step, meta in metas.items()}
        values = {k: v for k, v in found.items() if v is not None and math.isfinite(v)}
        way = 1 if better(metric) is min else -1
        return sorted(values, key=lambda step: way * values[step])

    def ranked_by(self, metas):
        """The name of the metric that says which is best; `metas` as `metas` gives them."""
        named = [meta["best_metric"] for meta in metas.values() if meta.get("best_metric")]
        return self.best_metric or (named or ["val_loss"])[-1]

    def metas(self):
        """{step: what its meta.json says}."""
        return {step: read_meta(self.path(step)) or {} for step in self.steps()}

    def newest_sound(self, report=print):
        """The step of the newest checkpoint whose files are what was written; None if there is none.

        Raises:
          UserError: there are checkpoints, and all are damaged.
        """
        self.wait()
        damaged = []
        for step in reversed(self.steps()):
            if fault := find_fault(self.path(step)):
                damaged.append(f"{self.path(step)}: {fault}")
                continue
            for line in damaged:
                report(f"{line}; going back to step {step}")
            return step
        if damaged:
            raise UserError(
                f"{damaged[0]}, and no other checkpoint is whole; put back a copy of one, or use "
                "another --model_dir"
            )
        return None

    def choose(self, which, report=print):
        """The step of the "newest" or of the "best" checkpoint.

        Raises:
          UserError: there is none.
        """
        step = self.best() if which == "best" else None
        if step is not None and (fault := find_fault(self.path(step))):
            report(f"{self.path(step)}: {fault}; taking the newest instead of the best")
            step = None
        elif step is None and which == "best" and self.steps():
            report(
                f"{self.folder}: no evaluation found a {self.ranked_by(self.metas())}; taking the "
                "newest instead of the best"
            )
        if step is None:
            step = self.newest_sound(report)
        if step is None:
            raise UserError(f"{self.folder}: there is no checkpoint; train first")
        return step

    def choose_several(self, which, count, report=print):
        """Steps of the `count` "newest" or "best" checkpoints, ascending.

        Raises:
          UserError: there are not so many.
        """
        chosen = []
        for step in self.ranked() if which == "best" else reversed(self.steps()):
            if len(chosen) == count:
                break
            if fault := find_fault(self.path(step)):
                report(f"{self.path(step)}: {fault}; leaving it out of the average")
            else:
                chosen.append(step)
        if len(chosen) < count:
            kind, setting = ("evaluated ", "_best") if which == "best" else ("", "")
            raise UserError(
                f"Experiment.averaged_checkpoints = {count}: {self.folder} has {len(chosen)} "
                f"{kind}checkpoints; average no more, or train with "
                f"train.keep{setting}_checkpoints = {count}"
            )
        return sorted(chosen)


def find(path):
    """The checkpoint at `path`: a checkpoint, or the newest of a model_dir.

    Raises:
      UserError: there is none, or it is damaged.
    """
    path = os.path.expanduser(path)
    if not os.path.exists(os.path.join(path, META)):
        checkpoints = Checkpoints(os.path.join(path, "checkpoints"))
        path = checkpoints.path(checkpoints.choose("newest"))
    elif fault := find_fault(path):
        raise UserError(f"{path}: {fault}")
    return path


def name_of(steps):
    """A checkpoint, or the mean of several, as messages call it."""
    *others, last = (f"{step:,}" for step in steps)
    return f"the mean of steps {', '.join(others)} and {last}" if others else f"step {last}"


def find_fault(path):
    """What is wrong with a checkpoint, or None."""
    meta = read_meta(path)
    if meta is None:
        return f"{META} is missing or damaged"
    for name, expected in meta["files"].items():
        file = os.path.join(path, name)
        if not os.path.exists(file):
            return f"{name} is missing"
        if digest(file) != expected:
            return f"{name} is damaged"
    return None


def write_meta(path, meta):
    """Writes the meta file of a checkpoint, whole or not at all."""
    file_path = os.path.join(path, META)
    with open(f"{file_path}.new", "w", encoding="utf-8") as file:
        json.dump(meta, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{file_path}.new", file_path)


def read_meta(path):
    try:
        with open(os.path.join(path, META), encoding="utf-8") as file:
            meta = json.load(file)
        return meta if meta["files"] else None
    except (OSError, ValueError, KeyError):
        return None
