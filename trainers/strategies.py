"""From the name in a recipe to a tf.distribute.Strategy, and what workers tell each other.

Nothing else in the trainer asks which strategy runs it.
"""

import contextlib
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainers import clusters
from trainers.errors import UserError, WorkerLost
from trainers.settings import did_you_mean


def make_strategy(
    name, cpu_replicas=1, cluster="tf_config", communication="auto", tpu="local"
) -> tf.distribute.Strategy:
    """Builds a strategy; call before anything else touches TensorFlow's devices.

    Args:
      name: "one_device"; "mirrored" for a replica on every GPU, or, where there is none, on
        every logical CPU; "multi_worker" for every GPU, or the CPU, of every worker of a
        cluster; "tpu" for every core of a TPU.
      cpu_replicas: into how many logical devices the CPU is split.
      cluster: how a worker learns of the others; see clusters.py.
      communication: how gradients are summed: "auto"; "nccl" on GPUs; "hierarchical" for
        mirrored GPUs; "ring" for workers.
      tpu: name or address of the TPU; "local" for that of this machine.

    Raises:
      UserError: unknown name, a way of communication that it has not, a cluster that is
        not described, or TensorFlow has been started with other devices.
    """
    if name not in STRATEGIES:
        hint = did_you_mean(str(name), STRATEGIES) or f"; choose one of {', '.join(STRATEGIES)}"
        raise UserError(f"STRATEGY = {name!r}: there is no such strategy{hint}")
    if cpu_replicas < 1:
        raise UserError(f"CPU_REPLICAS = {cpu_replicas}: must be at least 1")
    make, ways = STRATEGIES[name]
    if communication not in ways:
        raise UserError(
            f"Experiment.communication = {communication!r}: {name} knows {', '.join(ways)}"
        )
    if cpu_replicas > 1:
        if name == "multi_worker":
            raise UserError(
                f"CPU_REPLICAS = {cpu_replicas}: multi_worker has one replica on a worker's CPU; "
                "start more workers instead"
            )
        split_cpu(cpu_replicas)
    return make(communication=communication, cluster=cluster, tpu=tpu)


def one_device(**_):
    return tf.distribute.get_strategy()


def mirrored(communication="auto", **_):
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return mirrored_on(*[device.name for device in devices], communication=communication)


@functools.cache
def mirrored_on(*devices, communication="auto"):
    # One for all runs of a process: the collectives of a second over the same devices would
    # be taken for the first one's, and fail where their shapes differ.
    ways = {
        "auto": lambda: None,
        "nccl": tf.distribute.NcclAllReduce,
        "hierarchical": tf.distribute.HierarchicalCopyAllReduce,
    }
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=ways[communication]())


@functools.cache
def multi_worker(communication="auto", cluster="tf_config", **_):
    resolver = clusters.make_resolver(cluster)
    way = tf.distribute.experimental.CommunicationImplementation[communication.upper()]
    return tf.distribute.MultiWorkerMirroredStrategy(
        cluster_resolver=resolver,
        communication_options=tf.distribute.experimental.CommunicationOptions(implementation=way),
    )


@functools.cache
def on_tpu(tpu="local", **_):
    # As in https://www.tensorflow.org/guide/tpu; never run on one.
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        if tpu != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"Experiment.tpu = {tpu!r}: there is no such TPU ({reason})") from error
    return tf.distribute.TPUStrategy(resolver)


# name -> how it is made, ways of communication
STRATEGIES: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "one_device": (one_device, ("auto",)),
    "mirrored": (mirrored, ("auto", "nccl", "hierarchical")),
    "multi_worker": (multi_worker, ("auto", "ring", "nccl")),
    "tpu": (on_tpu, ("auto",)),
}


def split_cpu(parts):
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(parts)]
        )
    except RuntimeError as error:
        found = len(tf.config.list_logical_devices("CPU"))
        if found != parts:
            raise UserError(
                f"CPU_REPLICAS = {parts}: TensorFlow has been started with {found}; "
                "set it in a new process"
            ) from error


def is_chief(strategy):
    """Whether this is the one process that writes; each is where there is no cluster."""
    return strategy.extended.should_checkpoint


def num_workers(strategy):
    """Processes of the cluster; 1 where there is none."""
    resolver = strategy.cluster_resolver
    jobs = resolver.cluster_spec().as_dict() if resolver else {}
    return sum(len(tasks) for tasks in jobs.values()) or 1


def local_replicas(strategy):
    """Replicas of this process."""
    return strategy.num_replicas_in_sync // num_workers(strategy)


def told_by_all(strategy, number):
    """What each replica's process says, as float64 [replicas]; every worker must ask."""
    return tell_all(strategy)(tf.constant([number], tf.float64)).numpy()


@functools.lru_cache(maxsize=1)
def tell_all(strategy):
    def gather(number):
        return strategy.gather(strategy.run(tf.identity, args=(number,)), axis=0)

    return tf.function(gather, autograph=False)


def any_worker(strategy, flag):
    """Whether `flag` is set in any process; every worker must ask."""
    return bool(np.any(told_by_all(strategy, float(flag))))


def told_by_chief(strategy, numbers):
    """The chief's numbers, a list of floats; every worker must ask, with as many of its own."""
    return [float(told_by_all(strategy, number)[0]) for number in numbers]


def wait_for_all(strategy):
    """Returns when every worker has got here."""
    told_by_all(strategy, 0)


def all_agree(strategy, number):
    """Whether every process says the same; every worker must ask."""
    told = told_by_all(strategy, number)
    return bool(np.all(told == told[0]))


@contextlib.contextmanager
def worker_losses(strategy):
    """Makes of the many errors that the loss of a worker brings one that says so."""
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
    ) as error:
        if num_workers(strategy) == 1:
            raise
        raise WorkerLost(
            f"error: another worker of the cluster is gone ({type(error).__name__}); the same "
            "command on every worker goes on from the last checkpoint"
        ) from error
