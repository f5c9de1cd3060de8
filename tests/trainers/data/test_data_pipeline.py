import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.data.made import language_store
from trainers.data.batches import contiguous, windows
from trainers.data.example_batches import bucketed
from trainers.data.pipeline import dataset

TEXTS = [f"text number {i}, with words" for i in range(40)]


@pytest.fixture
def store(tmp_path):
    return language_store(tmp_path, TEXTS)


def same(features, expected):
    assert features.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(features[name], expected[name], err_msg=name)


@pytest.mark.parametrize("plan_of", [windows, contiguous, bucketed])
def test_elements_are_the_batches_of_the_steps_in_order(plan_of, store):
    plan = plan_of(store, 4, 16)
    elements = list(dataset(plan, 3, 9))
    assert len(elements) == 6
    for step, features in enumerate(elements, 3):
        same(features, plan.batch(step))


def test_shapes_are_static_where_they_do_not_change(store):
    spec = dataset(windows(store, 4, 16), 0, 1).element_spec
    assert spec["inputs"] == tf.TensorSpec([4, 16], tf.int32)
    assert spec["weights"] == tf.TensorSpec([4, 16], tf.float32)
    assert dataset(bucketed(store, 4, 16), 0, 1).element_spec["inputs"].shape == [4, None]


def test_without_a_stop_steps_go_on(store):
    plan = windows(store, 4, 16)
    step = 10**12
    same(next(iter(dataset(plan, step))), plan.batch(step))


@pytest.mark.parametrize("workers, replicas", [(1, 4), (2, 2), (2, 1)])
def test_replicas_of_all_workers_together_take_the_global_batch(store, workers, replicas):
    plan = windows(store, 8, 16)

    class Strategy:
        num_replicas_in_sync = workers * replicas

        def distribute_datasets_from_function(self, of_worker):
            contexts = (
                tf.distribute.InputContext(workers, worker, workers * replicas)
                for worker in range(workers)
            )
            return [of_worker(context) for context in contexts]

    per_worker = [list(worker) for worker in dataset(plan, 5, 7, Strategy())]
    for step in (5, 6):
        first = (step - 5) * replicas
        parts = [part for worker in per_worker for part in worker[first : first + replicas]]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        same(whole, plan.batch(step))


def test_a_batch_that_replicas_cannot_share_is_refused(store):
    class Strategy:
        num_replicas_in_sync = 3

    with pytest.raises(ValueError, match="4 rows cannot be shared by 3 replicas equally"):
        dataset(windows(store, 4, 16), 0, 1, Strategy())


def test_one_device_strategy_reads_the_same(store):
    plan = windows(store, 4, 16)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    for step, features in enumerate(dataset(plan, 2, 4, strategy), 2):
        same(features, plan.batch(step))
