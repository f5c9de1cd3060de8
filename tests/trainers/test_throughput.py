import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers import throughput
from trainers.throughput import Throughput


def test_only_measured_steps_count(monkeypatch):
    monkeypatch.setattr(throughput, "matmul_peak", lambda dtype: 1e6)
    model = keras.Sequential()
    clock = Throughput(flops_per_step=1000, model=model, strategy=tf.distribute.get_strategy())
    assert clock.report() == {}

    def run():
        time.sleep(0.1)
        return np.array([[1.0, 30.0, 1.0], [1.0, 10.0, 1.0]], "float32")

    clock.measure(run)
    time.sleep(0.3)  # an evaluation
    found = clock.report()
    assert found["tokens_per_second"] == pytest.approx(400, rel=0.2)
    assert found["model_flops_per_second"] == pytest.approx(20_000, rel=0.2)
    assert found["model_flops_utilization"] == pytest.approx(0.02, rel=0.2)
    assert clock.report() == {}


def test_the_peak_is_that_of_a_large_product():
    size = 1024
    x = tf.ones((size, size))

    def flops_per_second():
        begin = time.perf_counter()
        tf.matmul(x, x).numpy()
        return 2 * size**3 / (time.perf_counter() - begin)

    plain = max(flops_per_second() for _ in range(10))
    # Other work may halve either.
    assert plain / 4 < throughput.matmul_peak("float32", seconds=0.3) < 4 * plain
