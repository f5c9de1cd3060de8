import keras
import numpy as np
import pytest

from tests.zoo import models
from trainers import adaptation
from trainers.adaptation import LoRA
from trainers.errors import UserError
from zoo import LSTMLM, DecoderLM

FEATURES = {"inputs": np.random.default_rng(0).integers(0, 50, (2, 9)).astype("int32")}


def make(lora=None):
    keras.utils.set_random_seed(0)
    model = DecoderLM(50, num_layers=2, width=16, num_heads=2, use_bias=True)
    if lora:
        lora.apply(model)
    return model


def shaken(model):
    """The model with updates that are not 0 any more."""
    for variable in model.trainable_variables:
        variable.assign_add(0.05 * keras.random.normal(variable.shape, seed=1))
    return model


def test_an_update_begins_as_nothing_and_is_of_low_rank():
    plain, adapted = make(), make(LoRA(rank=3, layers=["qkv", "block_1/up"]))
    np.testing.assert_array_equal(plain(FEATURES), adapted(FEATURES))
    names = [variable.path for variable in adapted.trainable_variables]
    assert sorted(names) == sorted(
        f"{layer}/lora_kernel_{part}"
        for layer in ("block_0/qkv", "block_1/qkv", "block_1/up")
        for part in "ab"
    )
    assert all(3 in variable.shape for variable in adapted.trainable_variables)


@pytest.mark.parametrize("alpha", [None, 6.0])
def test_merged_it_is_what_it_was_unmerged(alpha):
    model = shaken(make(LoRA(rank=2, alpha=alpha, layers=["qkv", "output", "up", "down"])))
    kernel = np.array(model.blocks[0].attention.qkv._kernel)
    a, b = (
        np.array(getattr(model.blocks[0].attention.qkv, f"lora_kernel_{part}")) for part in "ab"
    )
    expected = np.array(model(FEATURES))
    adaptation.merge(model)
    np.testing.assert_allclose(np.array(model(FEATURES)), expected, atol=1e-5)
    whole = kernel + (alpha or 2) / 2 * a @ b
    np.testing.assert_allclose(model.blocks[0].attention.qkv.kernel, whole, atol=1e-6)
    assert not any(adaptation.UPDATE in weight.path for weight in model.weights)
    assert [w.path for w in model.weights] == [w.path for w in make().weights]


def test_layers_of_kerashub_have_updates_too():
    features = models.example(model := models.make("hub_gemma2"), 6)
    names = [weight.path for weight in model.weights]
    plain = np.array(model(features))
    LoRA(rank=2, layers=["attention/(query|value)", "ffw_linear"]).apply(model)
    np.testing.assert_allclose(np.array(model(features)), plain, atol=1e-5)
    learned = [variable.path for variable in model.trainable_variables]
    assert len(learned) == 12
    assert all(adaptation.UPDATE in path for path in learned)
    expected = np.array(shaken(model)(features))
    assert np.abs(expected - plain).max() > 1e-3
    adaptation.merge(model)
    np.testing.assert_allclose(np.array(model(features)), expected, atol=1e-5)
    assert [weight.path for weight in model.weights] == names


def test_made_compact_it_has_its_updates():
    model = shaken(make(LoRA(rank=2)))
    expected = np.array(model(FEATURES))
    np.testing.assert_allclose(model.compact("float32")(FEATURES), expected, atol=1e-5)


def test_other_weights_may_learn_beside_updates():
    model = make(LoRA(rank=2, also=["norm", "block_0/.*bias"]))
    learned = {variable.path for variable in model.trainable_variables}
    assert {"final_norm/scale", "block_0/qkv/bias", "block_1/qkv/lora_kernel_a"} <= learned
    assert not {"block_1/qkv/bias", "embedding/embedding", "block_0/qkv/kernel"} & learned


def test_frozen_weights_do_not_learn():
    model = make()
    adaptation.freeze(model, ["embedding", "block_0/"])
    left = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert left == {"block_1", "final_norm"}


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda: make(LoRA(layers=["qvk"])), "'qvk' matches nothing; there are block_N/down, "),
        (lambda: make(LoRA(also=["nrom"])), "LoRA.also: 'nrom' matches nothing"),
        (lambda: LoRA(rank=0), "must be at least 1"),
        (lambda: LoRA().apply(LSTMLM(50)), "'qkv' matches nothing"),
        (lambda: adaptation.freeze(make(), ["("]), "is no regular expression"),
        (lambda: adaptation.freeze(make(), [""]), "nothing is left to learn"),
        (lambda: scaled({"block": -1.0}), "'block' has -1.0; 0 is the least"),
        (lambda: scaled({"blok": 1.0}), "learning_rate_scales: 'blok' matches nothing"),
    ],
)
def test_what_cannot_be_is_one_clear_line(do, message):
    with pytest.raises(UserError, match=message):
        do()


def scaled(scales, kind=keras.optimizers.SGD):
    model = make()
    optimizer = kind(learning_rate=0.5)
    optimizer.build(model.trainable_variables)
    adaptation.scale_rates(optimizer, model.trainable_variables, scales)
    before = [np.array(variable) for variable in model.trainable_variables]
    optimizer.apply([np.ones(variable.shape, "float32") for variable in model.trainable_variables])
    after = [np.array(variable) for variable in model.trainable_variables]
    paths = [variable.path for variable in model.trainable_variables]
    return {p: np.abs(b - a).max() for p, a, b in zip(paths, after, before, strict=True)}


@pytest.mark.parametrize("kind", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_rates_are_those_of_the_first_pattern_that_matches(kind):
    plain = scaled({}, kind)
    found = scaled({"block_0/up": 0.5, "block_0": 0.1, "embedding": 0.0}, kind)
    for path, moved in found.items():
        scale = 1.0
        if path.startswith("block_0"):
            scale = 0.5 if "block_0/up" in path else 0.1
        scale = 0.0 if "embedding" in path else scale
        if kind is keras.optimizers.SGD or "embedding" not in path:
            assert moved == pytest.approx(scale * plain[path], rel=0.03, abs=1e-6), path
