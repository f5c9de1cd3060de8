"""Two workers on this machine, half of its cores each, against one process with all of them.

python scripts/benchmarks/workers.py: prints {"one": s, "two": s, "all_reduce": s}, seconds of a
step of GPT-2 6x384 B8 T256 and of an all-reduce of as many bytes as its gradient, medians of turns.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import turns
from shapes import named

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[1:1] = [SCRIPTS, os.path.join(SCRIPTS, "..")]

from launch_local import tf_configs  # noqa: E402 - found in the folder above

WORK = "gpt2 6x384 B8 T256 V65 float32"
TURNS = 3
STEPS = 6


def compare():
    cores = sorted(os.sched_getaffinity(0))[: turns.THREADS]
    half = len(cores) // 2
    found = {"one": [], "two": [], "all_reduce": []}
    for _ in range(TURNS):
        (one,) = measure([cores])
        two = measure([cores[:half], cores[half:]])
        found["one"].append(one["step"])
        for name, key in (("two", "step"), ("all_reduce", "all_reduce")):
            found[name].append(max(each[key] for each in two))
    print(json.dumps({name: statistics.median(values) for name, values in found.items()}))


def measure(shares):
    """What workers with these cores each find."""
    processes = []
    for share, config in zip(shares, tf_configs(len(shares)), strict=True):
        environment = os.environ | {"TF_CONFIG": json.dumps(config)}
        command = [sys.executable, __file__, json.dumps(share)]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        )
    return [json.loads(process.communicate()[0]) for process in processes]


def side():
    share = json.loads(sys.argv[1])
    os.sched_setaffinity(0, share)
    from trainers import startup

    startup.import_tensorflow()
    import tensorflow as tf
    from train_step_ours import make_model, trained_by

    from trainers import strategies

    tf.config.threading.set_intra_op_parallelism_threads(len(share))
    workers = len(json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"])
    strategy = strategies.make_strategy("multi_worker" if workers > 1 else "one_device")
    work = named(WORK)
    with strategy.scope():
        model, optimizer = make_model(work)
    steps = trained_by(work, model, optimizer, strategy)

    @tf.function
    def all_reduce(count):
        def sums():
            gradients = [variable.value + 0.0 for variable in model.trainable_variables]
            reduced = tf.distribute.get_replica_context().all_reduce("SUM", gradients)
            return tf.add_n([tf.reduce_max(each) for each in reduced])

        total = tf.zeros(())
        for _ in tf.range(count):
            total += strategy.experimental_local_results(strategy.run(sums))[0]
        return total

    def timed(function):
        function(2)
        began = time.perf_counter()
        function(STEPS)
        return (time.perf_counter() - began) / STEPS

    found = {
        "step": timed(steps),
        "all_reduce": timed(lambda n: all_reduce(tf.constant(n)).numpy()),
    }
    print(json.dumps(found))
    strategies.wait_for_all(strategy)


if __name__ == "__main__":
    side() if len(sys.argv) > 1 else compare()
