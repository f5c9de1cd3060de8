"""Does a run all sorts of harm, starts it again, and compares it with one that was left alone.

python scripts/drill.py --work_dir=/tmp/drill --faults=kill=10,checkpoint=5,flip=2 -- \\
    --gin_file=configs/recipes/quickstart.gin --gin_param='STEPS = 100'

What stands behind `--` are flags of trainers.run. Exits with 1 unless the last checkpoints, the
metrics and the points in TensorBoard are the same, bit for bit. Each fault is tried so many times:

  kill         SIGKILL at a random moment
  checkpoint   SIGKILL while a checkpoint is being written
  metrics      SIGKILL after a line of metrics.jsonl, of which half is then taken away
  store        SIGKILL while a token store is being written
  export       SIGKILL while the export is being written
  stop         SIGTERM at a random moment
  truncate     the newest checkpoint is cut in half
  flip         a bit of the newest checkpoint is turned
  index        the newest checkpoint loses its index
  disk         the disk is full while checkpoints are written; needs root, for a tmpfs

With --workers both runs are of so many workers, and SIGKILL is for one of them.
"""

import collections
import os
import random
import sys
import time

from absl import app, flags
from drills.comparison import differences
from drills.faults import FAULTS, Drill

from trainers.callbacks import metrics_file
from trainers.checkpoints import Checkpoints

FLAGS = flags.FLAGS
flags.DEFINE_list("faults", ["kill=10"], "NAME=HOW_OFTEN; see above.")
flags.DEFINE_string("work_dir", None, "Folder for both runs; an earlier drill's are removed.")
flags.DEFINE_integer("workers", 1, "Of both runs.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of the moments.")
flags.mark_flag_as_required("work_dir")


def main(argv):
    random.seed(FLAGS.seed)
    rounds = wanted_rounds()
    alone, harmed = (
        Drill(os.path.join(FLAGS.work_dir, name), argv[1:], FLAGS.workers)
        for name in ("alone", "harmed")
    )
    for drill in (alone, harmed):
        drill.clear()

    began = time.monotonic()
    run = alone.start()
    startup = first_report(run, alone) - began
    finish(run)
    training = time.monotonic() - began - startup
    print(f"left alone: {startup:.0f} s to the first report, {training:.0f} s more", flush=True)

    # Long enough for some to come far, short enough for all to meet the run.
    harmed.longest = startup + training * min(max(2 / len(rounds), 0.15), 0.8)
    met = collections.Counter()
    for name in rounds:
        found = FAULTS[name](harmed)
        met[name] += found
        steps = Checkpoints(harmed.path("checkpoints")).steps()
        print(f"{name}: {'met' if found else 'missed'}, checkpoints {steps}", flush=True)
    finish(harmed.start())

    faults = list(differences(alone.model_dir, harmed.model_dir))
    for fault in faults:
        print(fault)
    counts = ", ".join(
        f"{name} {met[name]} of {rounds.count(name)}" for name in FAULTS if met[name]
    )
    if not counts:
        print("no fault met the run: train for longer")
        return 1
    state = "differs" if faults else "is equal, bit for bit"
    print(f"the run that met with {counts} {state}")
    return 1 if faults else 0


def wanted_rounds():
    """Names of faults in the order in which they are tried, that of the export last."""
    rounds = []
    for wanted in FLAGS.faults:
        name, _, count = wanted.partition("=")
        if name not in FAULTS or not count.isdigit():
            sys.exit(f"--faults: {wanted!r} is not NAME=HOW_OFTEN of {', '.join(FAULTS)}")
        rounds += [name] * int(count)
    if not rounds:
        sys.exit("--faults: no fault is to be tried; NAME=HOW_OFTEN, as kill=10")
    random.shuffle(rounds)
    return sorted(rounds, key=lambda name: name == "export")


def first_report(run, drill):
    """The time at which a run's first report is there."""
    while not metrics_file.read(drill.path("metrics.jsonl")):
        if run.poll() is not None:
            finish(run)
        time.sleep(0.05)
    return time.monotonic()


def finish(run):
    if run.wait():
        sys.exit(f"a run failed, see the logs in {FLAGS.work_dir}")


if __name__ == "__main__":
    app.run(main)
