"""Runs what stepping.py does with replicas and workers, once, in processes of its own."""

import fcntl
import functools
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from launch_local import tf_configs

from trainers.settings import ROOT

# Without the passes that make programs fast, XLA makes them in half the time.
QUICK_XLA = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def two_cpus(slow=False):
    """What `in_two_cpus` finds, or `slowly_in_two_cpus`."""
    return found_once("slowly_in_two_cpus" if slow else "in_two_cpus")


def two_workers(slow=False):
    """What `in_two_workers` finds, or `slowly_in_two_workers`, of each worker."""
    return found_by_workers("slowly_in_two_workers" if slow else "in_two_workers")


@functools.cache
def found_once(name):
    """What a function finds in a process of its own, once for all processes of a test run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"alone-{os.getpid()}")
    path = os.path.join(tempfile.gettempdir(), f"menagerie-{run}-{name}.npz")
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            (found,) = in_processes(name, [{}])
            np.savez(path, **found)
    with np.load(path) as file:
        return dict(file)


@functools.cache
def found_by_workers(name):
    environments = [{"TF_CONFIG": json.dumps(each)} for each in tf_configs(2)]
    return in_processes(name, environments)


def in_processes(name, environments):
    """What the function `name` finds in processes of these environments, side by side."""
    folder = tempfile.mkdtemp()
    flags = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_XLA}"
    common = os.environ | {"XLA_FLAGS": flags, "CUDA_VISIBLE_DEVICES": "-1"}
    paths = [os.path.join(folder, f"{i}.npz") for i in range(len(environments))]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.trainers.stepping", name, path],
            cwd=ROOT,
            env=common | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for path, environment in zip(paths, environments, strict=True)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert not process.returncode, errors[-5000:]
    found = []
    for path in paths:
        with np.load(path) as file:
            found.append(dict(file))
    return found
