"""How a worker learns who the others are: from its environment, by one of three customs.

  tf_config   TF_CONFIG, TensorFlow's own: {"cluster": {"worker": ["host:port", ...]},
              "task": {"type": "worker", "index": 0}}
  slurm       the SLURM_* variables that srun sets
  kubernetes  an Indexed Job behind a headless Service, whose manifest sets MENAGERIE_JOB,
              MENAGERIE_SERVICE, MENAGERIE_WORKERS and MENAGERIE_PORT

Worker 0 is the chief, which alone writes to the model_dir; all of them read it.
"""

import json
import os

import tensorflow as tf
from tensorflow.python.distribute.cluster_resolver.slurm_cluster_resolver import (
    expand_hostlist,
    expand_tasks_per_node,
)

from trainers.errors import UserError

EXAMPLE = (
    """'{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'"""
)
SLURM = ("SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_JOB_ID")
FIRST_PORT = 20_000
KUBERNETES = (
    "JOB_COMPLETION_INDEX",
    "MENAGERIE_JOB",
    "MENAGERIE_SERVICE",
    "MENAGERIE_WORKERS",
    "MENAGERIE_PORT",
)


def make_resolver(name):
    """A tf.distribute.cluster_resolver.ClusterResolver.

    Args:
      name: "tf_config", "slurm" or "kubernetes".

    Raises:
      UserError: the environment does not describe a cluster.
    """
    return RESOLVERS[name]()


def tf_config():
    require("tf_config", ["TF_CONFIG"], f"set it for every worker, as TF_CONFIG={EXAMPLE}")
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        jobs, task = config["cluster"], config["task"]
        address = jobs[task["type"]][task["index"]]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"TF_CONFIG: {type(error).__name__}: {error}; it is to look like {EXAMPLE}"
        ) from error
    if set(jobs) - {"worker", "chief"} or ":" not in address:
        raise UserError(f"TF_CONFIG: knows workers alone, as host:port; as {EXAMPLE}")
    return tf.distribute.cluster_resolver.TFConfigClusterResolver()


def slurm():
    # TensorFlow's SlurmClusterResolver sorts hosts as text, so that node10 comes before node9
    # and tasks listen where they are not; and it raises on nodes without GPUs.
    require("slurm", SLURM, "start each worker by srun")
    rank, hosts, tasks, job = (os.environ[name] for name in SLURM)
    first_port = FIRST_PORT + int(job) % 10_000  # jobs that share a node do not meet
    workers = [
        f"{host}:{first_port + task}"
        for host, count in zip(expand_hostlist(hosts), expand_tasks_per_node(tasks), strict=True)
        for task in range(count)
    ]
    return simple(workers, int(rank))


def kubernetes():
    # TensorFlow's KubernetesClusterResolver does not tell a worker which one it is.
    require("kubernetes", KUBERNETES, "see docs/clusters/kubernetes.yaml")
    index, job, service, count, port = (os.environ[name] for name in KUBERNETES)
    return simple([f"{job}-{i}.{service}:{port}" for i in range(int(count))], int(index))


def simple(workers, index):
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": workers}),
        task_type="worker",
        task_id=index,
        rpc_layer="grpc",
    )


RESOLVERS = {"tf_config": tf_config, "slurm": slurm, "kubernetes": kubernetes}


def require(name, variables, mend):
    missing = [variable for variable in variables if not os.environ.get(variable)]
    if missing:
        raise UserError(
            f"STRATEGY = 'multi_worker' with CLUSTER = {name!r}: {missing[0]} is not set; {mend}"
        )
