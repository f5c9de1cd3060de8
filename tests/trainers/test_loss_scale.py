import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.processes import two_cpus
from tests.trainers.stepping import ROWS, iterator, make, overflowing, trained
from trainers import loss_scale


@pytest.fixture
def float16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


def test_only_float16_is_scaled():
    assert not loss_scale.make_loss_scale("float32", 8).variables
    assert not loss_scale.make_loss_scale("bfloat16", 8).variables
    assert len(loss_scale.make_loss_scale("float16", 8).variables) == 2


def test_it_begins_with_what_suits_the_mean_of_a_micro_batch(float16):
    # 8 rows of 12 tokens: 96, which rounds to 128.
    step, _ = make("lstm_lm")
    assert float(step.loss_scale.scale) == loss_scale.INITIAL / 128
    halves, _ = make("lstm_lm", accumulation=2)
    assert float(halves.loss_scale.scale) == loss_scale.INITIAL / 64


@pytest.mark.parametrize(
    "family, by_xla",
    [
        ("decoder_lm", [False]),
        pytest.param("lstm_lm", [False, True], marks=pytest.mark.slow),
    ],
)
def test_mixed_float16_trains_as_float32_does(family, by_xla):
    # Truth: the same in float32; float16 has 11 bits.
    results = trained(family, "adamw", steps=15)["results"]
    expected = results[:, 0] / results[:, 1]
    keras.config.set_dtype_policy("mixed_float16")
    try:
        for xla in by_xla:
            step, plan = make(family, "adamw", xla=xla)
            results = step.run(iterator(step, plan), 15)
            assert {v.dtype for v in step.model.trainable_variables} == {"float32"}
            np.testing.assert_allclose(results[:, 0] / results[:, 1], expected, rtol=0.01)
            assert np.isfinite(results[1:, 2]).all()  # nothing is left out
    finally:
        keras.config.set_dtype_policy("float32")


def test_gradients_do_not_depend_on_the_scale(float16):
    norms = []
    for fraction in (1.0, 1 / 64):
        step, plan = make("decoder_lm", "adamw")
        step.loss_scale.scale.assign(fraction * step.loss_scale.scale)
        norms.append(step.run(iterator(step, plan), 1)[0, 2])
    assert norms[0] == pytest.approx(norms[1], rel=0.01)


def assert_left_out(found):
    np.testing.assert_array_equal(found["after"], found["before"])
    np.testing.assert_array_equal(found["scale"], [found["first scale"] / 2, 0])
    assert found["iterations"] == 1
    assert (found["next"] != found["before"]).any()


def test_a_gradient_that_overflows_is_left_out_and_halves_the_scale(float16):
    assert_left_out(overflowing())


def test_an_overflow_in_one_replica_is_left_out_in_all():
    assert_left_out({k: two_cpus()[f"overflowing/{k}"] for k in overflowing_keys()})
    first, second = two_cpus()["overflowing/of replicas"]
    np.testing.assert_array_equal(first, second)


def overflowing_keys():
    return ("before", "after", "first scale", "scale", "iterations", "next")


def test_the_scale_doubles_after_so_many_sound_steps(float16, monkeypatch):
    monkeypatch.setattr(loss_scale, "GROWTH_INTERVAL", 3)
    step, plan = make("bigram", "sgd")
    feed = iterator(step, plan)
    first = float(step.loss_scale.scale)
    scales = []
    for _ in range(7):
        step.run(feed, 1)
        scales.append(float(step.loss_scale.scale) / first)
    assert scales == [1, 1, 2, 2, 2, 4, 4]


def test_the_scale_has_a_least_value(float16):
    step, plan = make("bigram", "sgd")
    step.loss_scale.scale.assign(loss_scale.LEAST)
    batch = plan.batch(0)
    batch["weights"][ROWS - 1] = np.inf
    step.run(iter(tf.data.Dataset.from_tensors(batch)), 1)
    assert float(step.loss_scale.scale) == loss_scale.LEAST
