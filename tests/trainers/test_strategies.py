import pytest
import tensorflow as tf

from tests.trainers.processes import two_cpus
from tests.trainers.stepping import make, trained
from trainers import strategies
from trainers.errors import UserError


def test_one_device_is_one_replica():
    assert strategies.make_strategy("one_device").num_replicas_in_sync == 1


@pytest.mark.parametrize(
    "name, hint",
    [
        ("mirored", "; did you mean mirrored?"),
        ("one-device", "; did you mean one_device?"),
        ("pipeline", "; choose one of one_device, mirrored, multi_worker, tpu"),
        (2, "; choose one of one_device, mirrored, multi_worker, tpu"),
    ],
)
def test_an_unknown_name_is_refused_in_one_line_with_the_nearest(name, hint):
    with pytest.raises(UserError) as error:
        strategies.make_strategy(name)
    assert str(error.value) == f"STRATEGY = {name!r}: there is no such strategy{hint}"


def test_less_than_one_replica_is_refused():
    with pytest.raises(UserError, match="CPU_REPLICAS = 0: must be at least 1"):
        strategies.make_strategy("mirrored", cpu_replicas=0)


def test_a_name_is_checked_before_the_cpu_is_split():
    with pytest.raises(UserError, match="no such strategy"):
        strategies.make_strategy("mirored", cpu_replicas=7)


def test_cpu_replicas_are_what_mirrored_runs_on():
    assert two_cpus()["strategies/mirrored"] == 2


def test_one_device_stays_one_on_a_split_cpu():
    assert two_cpus()["strategies/one device"] == 1


def test_runs_of_one_process_share_a_mirrored_strategy():
    assert two_cpus()["strategies/same again"]


def test_another_split_after_tensorflow_has_started_is_refused_in_one_line():
    assert two_cpus()["strategies/refusal"] == (
        "CPU_REPLICAS = 3: TensorFlow has been started with 2; set it in a new process"
    )


def test_mirrored_on_a_single_device_equals_one_device():
    alone = trained("bigram", "adamw", steps=3, xla=True)
    mirrored = trained("bigram", "adamw", strategies.mirrored_on("/cpu:0"), steps=3, xla=True)
    for name, value in alone.items():
        assert (mirrored[name] == value).all(), name


def test_mirrored_on_a_single_device_keeps_averages():
    step, _ = make("bigram", "sgd", strategies.mirrored_on("/cpu:0"), ema_decay=0.9)
    assert isinstance(step.strategy, tf.distribute.MirroredStrategy)
    assert len(step.averages) == 3
