"""How fast training steps run, by a clock that stands still for everything else."""

import time

import tensorflow as tf

from trainers.strategies import num_workers


class Throughput:
    """Counts tokens, or pairs of answers, and seconds of training steps alone.

    Compilation, evaluation and checkpoints are left out: the clock runs only within
    `measure`, and a caller leaves the first step, which compiles, outside.

    Args:
      flops_per_step: of the model, forward and backward, matrix products only.
      model: whose compute dtype the peak is measured in.
      strategy: logical CPUs are parts of one device, GPUs are one each.
      unit: what is counted, of the objective.
    """

    def __init__(self, flops_per_step, model, strategy, unit="token"):
        self.flops_per_step = flops_per_step
        self.dtype = model.compute_dtype
        self.unit = unit
        on_gpus = tf.config.list_physical_devices("GPU")
        self.devices = strategy.num_replicas_in_sync if on_gpus else num_workers(strategy)
        self.peak = None
        self.seconds = 0.0
        self.steps = 0
        self.units = 0.0

    def measure(self, run):
        """`run()`, whose results [N, ...] are those of TrainStep.run."""
        began = time.perf_counter()
        results = run()
        self.seconds += time.perf_counter() - began
        self.steps += len(results)
        self.units += float(results[:, 1].sum())
        return results

    def report(self):
        """Speed since the last report; {} where no whole step has been measured."""
        if not self.steps:
            return {}
        if self.peak is None:
            self.peak = self.devices * matmul_peak(self.dtype)
        flops = self.flops_per_step * self.steps / self.seconds
        speed = {
            f"{self.unit}s_per_second": self.units / self.seconds,
            "model_flops_per_second": flops,
            "model_flops_utilization": flops / self.peak,
        }
        self.seconds, self.steps, self.units = 0.0, 0, 0.0
        return speed


def matmul_peak(dtype, seconds=0.2):
    """FLOP/s of large matrix products on one device: what a model's share is reckoned of."""
    size = 8192 if tf.config.list_physical_devices("GPU") else 1024
    matrix = tf.ones((size, size), dtype)
    product = tf.function(lambda a: tf.reduce_sum(tf.matmul(a, a)), autograph=False)
    product(matrix).numpy()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        product(matrix).numpy()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best
