"""Kills a run at random moments, starts it again, and compares it with one that was left alone.

python scripts/drill.py --kills=10 --work_dir=/tmp/drill -- \\
    --gin_file=configs/recipes/quickstart.gin --gin_param='STEPS = 100'

What stands behind `--` are flags of trainers.run. Exits with 1 unless the last checkpoints, the
metrics and the points in TensorBoard are the same, bit for bit.
"""

import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import time

from absl import app, flags

from trainers.callbacks import metrics_file
from trainers.checkpoints import STATE, Checkpoints

FLAGS = flags.FLAGS
flags.DEFINE_integer("kills", 10, "How often the run is killed.", lower_bound=1)
flags.DEFINE_string("work_dir", None, "Folder for both runs; emptied first.")
flags.DEFINE_integer("seed", 0, "Of the moments.")
flags.mark_flag_as_required("work_dir")

TIMES = ("tokens_per_second", "model_flops_per_second", "model_flops_utilization")


def main(argv):
    random.seed(FLAGS.seed)
    shutil.rmtree(FLAGS.work_dir, ignore_errors=True)
    alone, killed = (os.path.join(FLAGS.work_dir, name) for name in ("alone", "killed"))

    began = time.monotonic()
    run = start(alone, argv[1:])
    startup = first_report(run, alone) - began
    finish(run)
    training = time.monotonic() - began - startup
    print(f"left alone: {startup:.0f} s to the first report, {training:.0f} s more", flush=True)

    longest = startup + training * min(2 / FLAGS.kills, 0.8)
    met = 0
    for number in range(FLAGS.kills):
        run = start(killed, argv[1:])
        try:
            run.wait(random.uniform(0, longest))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
        met += run.returncode == -signal.SIGKILL
        steps = Checkpoints(os.path.join(killed, "checkpoints")).steps()
        print(f"kill {number + 1}: code {run.returncode}, checkpoints {steps}", flush=True)
    finish(start(killed, argv[1:]))

    faults = list(differences(alone, killed))
    for fault in faults:
        print(fault)
    if not met:
        print("no kill met a running process: train for longer")
        return 1
    state = "differs" if faults else "is equal, bit for bit"
    print(f"the run that was killed {met} times {state}")
    return 1 if faults else 0


def start(model_dir, arguments):
    os.makedirs(model_dir, exist_ok=True)
    with open(f"{model_dir}.log", "a", encoding="utf-8") as log:
        command = [sys.executable, "-m", "trainers.run", f"--model_dir={model_dir}", *arguments]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def first_report(run, model_dir):
    """The time at which a run's first report is there."""
    while not metrics_file.read(os.path.join(model_dir, "metrics.jsonl")):
        if run.poll() is not None:
            finish(run)
        time.sleep(0.05)
    return time.monotonic()


def finish(run):
    if run.wait():
        sys.exit(f"a run failed, see the logs in {FLAGS.work_dir}")


def differences(one, other):
    """What differs between two model_dirs, a line each."""
    import tensorflow as tf

    saved, other_saved = (Checkpoints(os.path.join(d, "checkpoints")) for d in (one, other))
    if saved.steps() != other_saved.steps():
        yield f"checkpoints {saved.steps()} and {other_saved.steps()}"
        return
    for step in saved.steps():
        paths = [os.path.join(c.path(step), STATE) for c in (saved, other_saved)]
        readers = [tf.train.load_checkpoint(path) for path in paths]
        names = [sorted(reader.get_variable_to_shape_map()) for reader in readers]
        if names[0] != names[1]:
            yield f"step {step}: other variables"
            continue
        for name in names[0]:
            values = [bytes_of(reader.get_tensor(name)) for reader in readers]
            if values[0] != values[1]:
                yield f"step {step}: {name}"

    lines = [metrics_of(os.path.join(d, "metrics.jsonl")) for d in (one, other)]
    if lines[0] != lines[1]:
        yield "metrics.jsonl"
    points = [tensorboard_points(os.path.join(d, "tensorboard")) for d in (one, other)]
    if points[0] != points[1]:
        yield "the points in TensorBoard"


def bytes_of(value):
    return value if isinstance(value, bytes) else value.tobytes()


def metrics_of(path):
    return [{k: v for k, v in line.items() if k not in TIMES} for line in metrics_file.read(path)]


def tensorboard_points(folder):
    """(split, tag, step) of each point, sorted: a doubled one is there twice."""
    import tensorflow as tf

    points = []
    for path in glob.glob(os.path.join(folder, "*", "events.*")):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            split = os.path.basename(os.path.dirname(path))
            points += [(split, value.tag, event.step) for value in event.summary.value]
    return sorted(points)


if __name__ == "__main__":
    app.run(main)
