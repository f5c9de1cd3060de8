import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers import schedules

STEPS, PEAK, WARMUP = 1000, 0.5, 100
ALL = {
    "constant": schedules.constant,
    "warmup_cosine": schedules.warmup_cosine,
    "warmup_linear": schedules.warmup_linear,
    "warmup_stable_decay": schedules.warmup_stable_decay,
    "inverse_square_root": schedules.inverse_square_root,
}


def made(name, **settings):
    settings = {"warmup_steps": WARMUP} | settings
    return ALL[name](steps=STEPS, steps_per_epoch=37.5, peak=PEAK, **settings)


def zaremba(**settings):
    return schedules.step_decay(steps=130, steps_per_epoch=10, peak=1.0, **settings)


# Each value follows by hand from the formula in the schedule's docstring.
POINTS = [
    ("constant", {}, {99: 1, 100: 1, 500: 1, 999: 1, 5000: 1}),
    ("warmup_cosine", {}, {99: 1, 100: 1, 325: 0.5 + 0.125**0.5, 550: 0.5, 1000: 0, 5000: 0}),
    ("warmup_cosine", {"final": 0.1}, {100: 1, 550: 0.55, 1000: 0.1, 5000: 0.1}),
    ("warmup_linear", {}, {99: 1, 100: 1, 550: 0.5, 999: 1 / 900, 1000: 0, 5000: 0}),
    ("warmup_linear", {"final": 0.2}, {100: 1, 550: 0.6, 1000: 0.2, 5000: 0.2}),
    ("warmup_stable_decay", {}, {99: 1, 800: 1, 900: 0.5, 999: 1 / 200, 1000: 0, 5000: 0}),
    (
        "warmup_stable_decay",
        {"decay_fraction": 0.5, "final": 0.1},
        {500: 1, 750: 0.55, 1000: 0.1},
    ),
    ("inverse_square_root", {}, {99: 1, 399: 0.5, 899: 1 / 3, 9999: 0.1}),
]


@pytest.mark.parametrize("name, settings, points", POINTS)
def test_rate_at_named_points_is_the_formulas(name, settings, points):
    schedule = made(name, **settings)
    for step, expected in points.items():
        assert float(schedule(step)) == pytest.approx(PEAK * expected, abs=1e-6), step


@pytest.mark.parametrize("name", ALL)
def test_warm_up_is_a_straight_line_to_the_peak(name):
    # Truth: the paper by Vaswani et al. counts steps from 1, so the first is not lost on rate 0.
    for step, expected in {0: 0.01, 49: 0.5, 98: 0.99, 99: 1.0}.items():
        assert float(made(name)(step)) == pytest.approx(PEAK * expected, rel=1e-6), step


@pytest.mark.parametrize("name", ALL)
def test_without_warm_up_the_first_step_is_the_peak(name):
    assert float(made(name, warmup_steps=0)(0)) == pytest.approx(PEAK)


def test_inverse_square_root_is_that_of_the_transformers_paper():
    # Truth: Vaswani et al. 2017, equation 3, with d_model = 512 and 4000 warm-up steps.
    peak = 512**-0.5 * 4000**-0.5
    schedule = schedules.inverse_square_root(
        steps=100_000, steps_per_epoch=1.0, peak=peak, warmup_steps=4000
    )
    for step in (1, 10, 3999, 4000, 4001, 50_000, 100_000):
        expected = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
        assert float(schedule(step - 1)) == pytest.approx(expected, rel=1e-6), step


def test_step_decay_is_that_of_zarembas_small_model():
    # Truth: Zaremba et al. 2014, 4.1: rate 1 for 4 epochs, then halved after each of 9 more.
    schedule = zaremba()
    for epoch in range(13):
        expected = 1.0 if epoch < 4 else 0.5 ** (epoch - 3)
        for step in (10 * epoch, 10 * epoch + 9):
            assert float(schedule(step)) == expected, (epoch, step)


def test_step_decay_of_the_medium_model_by_a_factor_of_1_2_after_6_epochs():
    # Truth: Zaremba et al. 2014, 4.1, of the medium model.
    schedule = zaremba(decay=1 / 1.2, constant_epochs=6)
    for epoch, expected in {0: 1, 5: 1, 6: 1 / 1.2, 12: 1.2**-7}.items():
        assert float(schedule(10 * epoch)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("steps_per_epoch", [1, 3, 97, 1327, 2323])
def test_rounding_puts_no_step_into_another_epoch(steps_per_epoch):
    # Truth: division of integers, at both ends of every epoch of four million steps.
    schedule = schedules.step_decay(
        steps=4_000_000, steps_per_epoch=steps_per_epoch, peak=1.0, decay=0.999
    )
    starts = np.arange(0, 4_000_000, steps_per_epoch)
    for steps in (starts, starts + steps_per_epoch - 1):
        epochs = np.maximum(steps // steps_per_epoch - 3, 0)
        expected = np.float32(0.999) ** epochs.astype("float32")
        np.testing.assert_allclose(schedule(steps), expected, rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("name", ALL)
def test_rate_is_never_negative_nor_above_the_peak(name):
    for settings in ({}, {"warmup_steps": 0}, {"warmup_steps": 2 * STEPS}):
        schedule = made(name, **settings)
        rates = np.asarray([float(schedule(step)) for step in range(0, 3 * STEPS, 41)])
        assert (rates >= 0).all()
        assert (rates <= PEAK * (1 + 1e-6)).all()


@pytest.mark.parametrize("name", [*ALL, "step_decay"])
def test_rate_is_the_same_inside_xla(name):
    schedule = zaremba() if name == "step_decay" else made(name)
    compiled = tf.function(schedule, jit_compile=True)
    for step in (0, 57, 940):
        assert compiled(tf.constant(step, "int64")).dtype == tf.float32
        np.testing.assert_allclose(
            compiled(tf.constant(step, "int64")), schedule(step), rtol=1e-5, atol=1e-7
        )


def test_a_keras_optimizer_takes_a_schedule_and_goes_by_its_own_step():
    optimizer = keras.optimizers.SGD(made("constant"))
    variable = keras.Variable([0.0])
    optimizer.build([variable])
    rates = []
    for _ in range(3):
        rates.append(float(optimizer.learning_rate))
        optimizer.apply([tf.constant([1.0])])
    np.testing.assert_allclose(rates, [0.005, 0.01, 0.015], rtol=1e-6)
    np.testing.assert_allclose(variable, [-0.03], rtol=1e-6)


@pytest.mark.parametrize("rate", [made("warmup_linear", warmup_steps=2), 0.25])
def test_the_last_rate_is_what_the_variable_was_moved_by(rate):
    optimizer = keras.optimizers.SGD(rate)
    variable = keras.Variable([0.0])
    optimizer.build([variable])
    for _ in range(4):
        before = float(variable[0])
        optimizer.apply([tf.constant([1.0])])
        assert schedules.last_rate(optimizer) == pytest.approx(before - float(variable[0]))


def test_the_last_rate_is_that_of_mirrored_variables_too():
    schedule = made("warmup_linear", warmup_steps=4)
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        optimizer = keras.optimizers.SGD(schedule)
        optimizer.build([keras.Variable([0.0])])
        optimizer.iterations.assign(3)
    assert schedules.last_rate(optimizer) == float(schedule(2)) < float(schedule(3))


def test_a_schedule_says_that_it_cannot_be_serialised():
    with pytest.raises(NotImplementedError, match="Schedule"):
        made("constant").get_config()
