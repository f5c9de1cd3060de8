import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.processes import two_cpus
from tests.trainers.stepping import OPTIMIZERS
from trainers.errors import UserError
from trainers.optimizers import Muon, check_excluded, orthogonalised, prepare
from zoo import DecoderLM

SHAPES = {
    "embedding": (7, 4),
    "head_embedding": (7, 4),
    "wide": (4, 8),
    "tall": (8, 4),
    "tall_again": (8, 4),
    "square": (6, 6),
    "bias": (8,),
}


class Weights(keras.layers.Layer):
    """Variables of many shapes, with paths as a model's."""

    def __init__(self):
        super().__init__(name="weights")
        for name, shape in SHAPES.items():
            self.add_weight(shape, "normal", name=name)


def variables():
    keras.utils.set_random_seed(1)
    return Weights().trainable_variables


def gradients(steps):
    random = np.random.default_rng(0)
    return [
        [random.normal(size=s).astype("float32") for s in SHAPES.values()] for _ in range(steps)
    ]


def applied(optimizer, steps=3, exclude=()):
    """{name: values} after some steps of made-up gradients."""
    updated = variables()
    prepare(optimizer, updated, list(exclude))
    for step in gradients(steps):
        optimizer.apply([tf.constant(g) for g in step], updated)
    return {v.name: v.numpy() for v in updated}


# --- prepare


@pytest.mark.parametrize(
    "setting, mend",
    [
        ({"clipnorm": 1.0}, "set train.clip_norm"),
        ({"clipvalue": 1.0}, "set train.clip_norm"),
        ({"global_clipnorm": 1.0}, "set train.clip_norm"),
        ({"gradient_accumulation_steps": 2}, "set ACCUMULATION"),
        ({"use_ema": True}, "set train.ema_decay"),
        ({"loss_scale_factor": 2.0}, 'choose PRECISION "mixed_float16"'),
    ],
)
def test_what_the_step_does_itself_is_refused_with_the_setting_to_use(setting, mend):
    (name,) = setting
    with pytest.raises(UserError) as error:
        prepare(keras.optimizers.Adam(**setting), variables(), [])
    assert str(error.value).startswith(f"Adam.{name}: leave it out and {mend}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "pattern, problem",
    [
        ("bias(", "is no regular expression"),
        ("kernels", "matches nothing; there are weights/bias, "),
    ],
)
def test_a_pattern_of_what_does_not_decay_that_matches_nothing_is_named(pattern, problem):
    with pytest.raises(UserError) as error:
        check_excluded(["bias", "norm", pattern], variables())
    assert str(error.value).startswith(f"train.weight_decay_exclude: {pattern!r} {problem}")


def test_the_usual_patterns_of_what_does_not_decay_may_match_nothing():
    check_excluded(["bias", "norm", "wide"], variables())  # none of these is a norm


def test_a_loss_scale_optimizer_is_refused():
    with pytest.raises(UserError, match=r"^LossScaleOptimizer: .*name the optimizer inside it$"):
        prepare(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()), variables(), [])


@pytest.mark.parametrize("make", [keras.optimizers.AdamW, keras.optimizers.Lion, Muon])
def test_excluded_variables_do_not_decay(make):
    # Truth: the same optimizer without weight decay, and decay's own formula for one step.
    decayed = applied(make(0.1, weight_decay=0.2), 1, exclude=["bias$", "^weights/tall$"])
    plain = applied(make(0.1, weight_decay=0.0), 1)
    before = {v.name: v.numpy() for v in variables()}
    spared = {"bias", "tall"} | ({"embedding", "head_embedding"} if make is Muon else set())
    for name, value in decayed.items():
        shrink = 0 if name in spared else 0.1 * 0.2 * before[name]
        np.testing.assert_allclose(value, plain[name] - shrink, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_trains_and_gradients_are_not_reduced_twice_on_replicas(optimizer):
    # Truth: one device, compiled whole, where there is nothing to reduce.
    alone, replicas = (
        {key: two_cpus()[f"{optimizer}/{way}/{key}"] for key in ("results", "weights")}
        for way in ("one device", "2 replicas")
    )
    losses = alone["results"][:, 0] / alone["results"][:, 1]
    assert losses[-1] < losses[0] - 0.03
    np.testing.assert_allclose(replicas["results"], alone["results"], rtol=1e-6)
    np.testing.assert_allclose(replicas["weights"], alone["weights"], rtol=0, atol=1e-5)


# --- Muon


def newton_schulz(matrix, steps):
    """As in Jordan et al. 2024, one matrix at a time, in float64."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


@pytest.mark.parametrize("weight_decay", [None, 0.1])
def test_muon_updates_matrices_of_every_orientation_as_one_at_a_time(weight_decay):
    # Truth: Jordan et al. 2024 in numpy float64, one matrix at a time. Its matrices are
    # [output, input], ours [input, output]: hence columns over rows in the scale.
    rate = 0.02
    optimizer = Muon(rate, weight_decay=weight_decay)
    actual = applied(optimizer, 3)
    for i, variable in enumerate(variables()):
        if variable.name not in ("wide", "tall", "tall_again", "square"):
            continue
        value = variable.numpy().astype("float64")
        momentum = np.zeros_like(value)
        for step in gradients(3):
            momentum = 0.95 * momentum + 0.05 * step[i]
            direction = newton_schulz(0.95 * momentum + 0.05 * step[i], 5)
            value -= rate * (weight_decay or 0.0) * value
            value -= rate * max(1, value.shape[1] / value.shape[0]) ** 0.5 * direction
        np.testing.assert_allclose(actual[variable.name], value, atol=2e-6, err_msg=variable.name)


def test_muon_updates_embeddings_heads_and_vectors_exactly_as_keras_adam():
    settings = {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-10}
    adam = applied(keras.optimizers.Adam(0.02 * 0.15, **settings), 5)
    muon = applied(Muon(0.02, adam_ratio=0.15, weight_decay=0.1), 5)
    for name in ("embedding", "head_embedding", "bias"):
        np.testing.assert_allclose(muon[name], adam[name], rtol=0, atol=1e-7, err_msg=name)


def test_muon_decays_them_as_keras_adamw_but_what_is_excluded():
    settings = {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-10}
    adamw = keras.optimizers.AdamW(0.02 * 0.15, weight_decay=3.0, **settings)
    expected = applied(adamw, 5, exclude=["bias$"])
    muon = applied(Muon(0.02, adam_ratio=0.15, adam_weight_decay=3.0), 5, exclude=["bias$"])
    for name in ("embedding", "head_embedding", "bias"):
        np.testing.assert_allclose(muon[name], expected[name], rtol=0, atol=1e-7, err_msg=name)
    plain = applied(Muon(0.02, adam_ratio=0.15), 5)
    for name in ("wide", "square", "bias"):
        np.testing.assert_array_equal(muon[name], plain[name])
    assert not np.allclose(muon["embedding"], plain["embedding"], rtol=0, atol=1e-4)


def test_muon_leaves_the_weights_of_a_short_convolution_to_adam():
    model = DecoderLM(10, num_layers=1, width=8, num_heads=2, short_convolution=4)
    assert not Muon().is_matrix(model.convolution.taps)


def test_muon_keeps_second_moments_only_of_what_adam_updates():
    optimizer = Muon(adam_exclude=["embedding", "square"])
    prepare(optimizer, variables(), [])
    assert {v.name.split("_velocity")[0] for v in optimizer.variables if "velocity" in v.name} == {
        "weights_embedding",
        "weights_head_embedding",
        "weights_square",
        "weights_bias",
    }


@pytest.mark.parametrize("shape", [(2, 16, 16), (3, 16, 64), (1, 5, 7)])
def test_orthogonalised_keeps_singular_vectors_and_brings_singular_values_near_one(shape):
    # Truth: numpy's singular value decomposition. Of values at least 1/100 of the norm the
    # quintic, iterated five times, makes values in the bounds that the docstring names.
    random = np.random.default_rng(0)
    u, s, v = np.linalg.svd(random.normal(size=shape), full_matrices=False)
    s = np.maximum(s, 0.02 * np.linalg.norm(s, axis=-1, keepdims=True))
    result = orthogonalised(tf.constant((u * s[:, None]) @ v, "float32"), 5).numpy()
    inside = np.swapaxes(u, 1, 2) @ result @ np.swapaxes(v, 1, 2)
    values = np.diagonal(inside, axis1=1, axis2=2)
    assert values.min() > 0.68 and values.max() < 1.21
    np.testing.assert_allclose(result, (u * values[:, None]) @ v, atol=1e-4)


def test_orthogonalised_zeros_stay_zeros():
    assert not orthogonalised(tf.zeros((2, 3, 4)), 5).numpy().any()


def test_muon_comes_back_from_its_config_and_is_ours_not_keras():
    settings = {"momentum": 0.9, "newton_schulz_steps": 3, "adam_ratio": 0.3, "weight_decay": 0.01}
    settings |= {"adam_beta_1": 0.7, "adam_beta_2": 0.9, "epsilon": 1e-8, "name": "mine"}
    settings["adam_weight_decay"] = 0.5
    original = Muon(0.03, **settings, adam_exclude=["embedding", "square"])
    again = keras.optimizers.deserialize(keras.optimizers.serialize(original))
    assert type(again) is Muon
    assert again.get_config() == original.get_config()
    expected = applied(original)
    for name, value in applied(again).items():
        np.testing.assert_array_equal(value, expected[name])


def test_muon_with_a_keras_schedule_comes_back_from_its_config():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(Muon(schedule)))
    assert float(again.learning_rate) == pytest.approx(0.1)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "lion", "muon"])
def test_an_optimizer_restored_from_a_checkpoint_goes_on_bit_for_bit(optimizer, tmp_path):
    first, *rest = gradients(4)

    def begin():
        layer = Weights()
        made = prepare(OPTIMIZERS[optimizer](), layer.trainable_variables, ["bias"])
        return layer, made, tf.train.Checkpoint(model=layer, optimizer=made)

    def go_on(layer, made, steps):
        for step in steps:
            made.apply([tf.constant(g) for g in step], layer.trainable_variables)
        return [v.numpy() for v in (*layer.trainable_variables, *made.variables)]

    layer, made, checkpoint = begin()
    go_on(layer, made, [first])
    path = checkpoint.write(str(tmp_path / "state"))
    expected = go_on(layer, made, rest)
    layer, made, checkpoint = begin()
    checkpoint.read(path).assert_consumed()
    assert int(made.iterations) == 1
    for actual, value in zip(go_on(layer, made, rest), expected, strict=True):
        np.testing.assert_array_equal(actual, value)
