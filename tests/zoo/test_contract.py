"""What every model of the zoo keeps (zoo/model.py), whatever its settings."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.zoo import models
from tests.zoo.gradients import weight_gradients
from tests.zoo.models import V, example, logits_of, make, pack
from zoo.layers.dropout import step_seed

TOLERANCE = {"atol": 2e-5, "rtol": 2e-5}
SEED = np.array([3, 4], "int32")


@pytest.fixture(params=models.MODELS, scope="module")
def model(request):
    return make(request.param)


@pytest.fixture
def mixed_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def packed(model):
    """(a row of two examples and some padding, the examples, their places in the row).

    Of one example, where a model knows rows of no more.
    """
    if not model.reads_packed_rows:
        alone = example(model, 8)
        return pack(alone, length=10, source_length=8), [alone], [slice(0, 8)]
    examples = example(model, 3, 4, seed=1), example(model, 5, 2, seed=2)
    row = pack(*examples, length=10, source_length=8)
    return row, examples, (slice(0, 3), slice(3, 8))


def with_dropout(model, features, **options):
    with step_seed(SEED):
        return logits_of(model, features, training=True, **options)


def loss_of(model, features, weights=1.0, **options):
    """Of a model that is to predict token 1 everywhere."""
    logits = model(features, **options)
    return ops.sum(-ops.log_softmax(logits)[..., 1] * weights)


def changed(features, name, *place):
    """Features with another token in one place."""
    tokens = features[name].copy()
    tokens[place] = tokens[place] % (V - 1) + 1
    return {**features, name: tokens}


def difference(one, other):
    return np.abs(one - other).max()


def test_logits_are_float32_of_the_vocabulary(model):
    logits = model(example(model, 6, rows=2))
    assert tuple(logits.shape) == (2, 6, V)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


@pytest.mark.parametrize("run", [logits_of, with_dropout], ids=["plain", "dropout"])
def test_a_token_changes_the_logits_from_its_place_on_and_none_before(model, run):
    features = example(model, 8)
    before, after = run(model, features), run(model, changed(features, "inputs", 0, 4))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert difference(before[:, 4], after[:, 4]) > 1e-3
    assert difference(before[:, 5], after[:, 5]) > 1e-4


def test_a_source_token_changes_all_logits(model):
    if not model.reads_source:
        pytest.skip("reads no source")
    features = example(model, 5)
    before, after = logits_of(model, features), logits_of(model, changed(features, "source", 0, 3))
    for place in range(5):
        assert difference(before[:, place], after[:, place]) > 1e-4


def test_dropout_drops_in_training_only_and_by_the_step_seed(model):
    features = example(model, 8)
    dropped = with_dropout(model, features)
    np.testing.assert_array_equal(dropped, with_dropout(model, features))
    assert difference(dropped, logits_of(model, features)) > 1e-3
    with step_seed(SEED + 1):
        assert difference(dropped, logits_of(model, features, training=True)) > 1e-3


def test_a_packed_example_equals_the_example_alone(model, packed):
    row, examples, places = packed
    together = logits_of(model, row)
    for features, place in zip(examples, places, strict=True):
        np.testing.assert_allclose(together[:, place], logits_of(model, features), **TOLERANCE)


def test_a_packed_target_reads_its_own_source_only(model, packed):
    if not model.reads_source:
        pytest.skip("reads no source")
    row, _, (first, second) = packed
    before, after = logits_of(model, row), logits_of(model, changed(row, "source", 0, 5))
    np.testing.assert_allclose(before[:, first], after[:, first], **TOLERANCE)
    assert difference(before[:, second], after[:, second]) > 1e-3


def test_tokens_of_padding_change_nothing(model, packed):
    row, _, _ = packed
    other = {**row, "inputs": np.where(row["segments"] > 0, row["inputs"], 7)}
    if model.reads_source:
        other["source"] = np.where(row["source_segments"] > 0, row["source"], 7)
    before, after = logits_of(model, row), logits_of(model, other)
    np.testing.assert_array_equal(before[:, :8], after[:, :8])


def test_padding_gives_no_nan_in_logits_or_gradients(model, packed):
    row, _, _ = packed
    rows = {name: np.concatenate([part, 0 * part]) for name, part in row.items()}
    weights = (rows["segments"] > 0).astype("float32")  # none in the second row
    assert np.isfinite(logits_of(model, rows)).all()

    def gradients(features, weights):
        with step_seed(SEED):
            return weight_gradients(model, lambda: loss_of(model, features, weights))

    expected = gradients(row, weights[:1])
    for (path, gradient), (_, alone) in zip(gradients(rows, weights), expected, strict=True):
        assert np.isfinite(gradient).all(), path
        np.testing.assert_allclose(gradient, alone, atol=1e-4, rtol=1e-4, err_msg=path)


def test_every_weight_has_a_gradient(model):
    features = example(model, 6, rows=2)
    with step_seed(SEED):
        found = weight_gradients(model, lambda: loss_of(model, features, training=True))
    for path, gradient in found:
        assert np.isfinite(gradient).all(), path
        # What a bias of keys alone adds is the same for all scores of a query.
        assert np.abs(gradient).max() > 1e-6 or path.endswith("/key/bias"), path


def decoded(model, tokens, pieces, max_length, features=None):
    """Logits of tokens handed to the model piece by piece."""
    state = model.start(len(tokens), max_length, features)
    found = []
    for piece in np.split(tokens, np.cumsum(pieces)[:-1], axis=1):
        logits, state = model.extend(piece, state)
        found.append(ops.convert_to_numpy(logits))
    return np.concatenate(found, axis=1)


def test_decoding_piece_by_piece_gives_the_teacher_forced_logits(model):
    features = example(model, 9, rows=2)
    found = decoded(model, features["inputs"], [4, 1, 2, 2], 12, features)
    np.testing.assert_allclose(found, logits_of(model, features), **TOLERANCE)


def test_a_state_that_is_put_back_has_not_read_what_came_after(model):
    features = example(model, 6, rows=2)
    tokens = features["inputs"]
    _, before = model.extend(tokens[:, :3], model.start(2, 9, features))
    expected, _ = model.extend(tokens[:, 3:], before)
    _, after = model.extend(tokens[:, ::-1], before)
    found, _ = model.extend(tokens[:, 3:], {**after, **model.passing(before)})
    np.testing.assert_allclose(found, expected, **TOLERANCE)


def test_left_padded_prompts_decode_as_each_does_alone(model):
    examples = example(model, 7, 4, seed=1), example(model, 4, 2, seed=2)
    tokens = [np.pad(one["inputs"][0], (7 - one["inputs"].shape[1], 0)) for one in examples]
    features = {"padding": np.array([0, 3], "int32")}
    if model.reads_source:
        sources = [pack(one, length=7, source_length=4) for one in examples]
        for name in ("source", "source_segments", "source_positions"):
            features[name] = np.concatenate([one[name] for one in sources])
    found = decoded(model, np.stack(tokens), [5, 1, 1], 7, features)
    for row, padding, one in zip(found, features["padding"], examples, strict=True):
        np.testing.assert_allclose(row[padding:], logits_of(model, one)[0], **TOLERANCE)


def test_state_carried_from_window_to_window_equals_one_long_window(model):
    whole = example(model, 9, rows=2)
    expected = logits_of(model, whole)
    state = model.initial_state(2)
    if not keras.tree.flatten(state):
        logits, state = model(whole, state=state)
        np.testing.assert_array_equal(logits, expected)
        assert not keras.tree.flatten(state)
        return
    found = []
    for start, stop in ((0, 4), (4, 5), (5, 9)):
        window = {
            "inputs": whole["inputs"][:, start:stop],
            "positions": np.tile(np.arange(start, stop, dtype="int32"), (2, 1)),
        }
        logits, state = model(window, state=state)
        found.append(ops.convert_to_numpy(logits))
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, **TOLERANCE)


def test_a_saved_model_loads_with_its_settings_and_its_logits(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    assert loaded.get_config() == model.get_config()
    features = example(model, 6)
    np.testing.assert_array_equal(logits_of(loaded, features), logits_of(model, features))


def test_every_weight_has_a_path_of_its_own(model):
    paths = [weight.path for weight in model.weights]
    assert len(set(paths)) == len(paths)


def test_summary_counts_every_layer_and_weight(model):
    lines = []
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert f"Total params: {model.count_params():,}" in text
    for layer in model.layers:
        assert layer.name in text


def test_training_takes_three_times_the_products_of_a_forward_pass(model):
    assert model.train_flops_per_token(8, 4) == 3 * model.matmul_flops_per_token(8, 4) > 0


def test_logits_of_half_the_tokens_take_half_the_products_of_the_softmax(model):
    products = [model.matmul_flops_per_token(8, 4, predicted) for predicted in (1.0, 0.5)]
    width = model.width if hasattr(model, "width") else model.backbone.hidden_dim
    assert products[0] - products[1] == width * model.vocabulary_size


@pytest.mark.parametrize("name", models.MODELS)
def test_bfloat16_agrees_with_float32_and_keeps_logits_and_gradients_float32(name, mixed_bfloat16):
    model = make(name)
    features = example(model, 8, rows=2)
    keras.config.set_dtype_policy("float32")
    exact = logits_of(make(name), features)
    keras.config.set_dtype_policy("mixed_bfloat16")

    state = model.initial_state(2)
    logits, new_state = model(features, state=state)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    dtypes = [
        [keras.backend.standardize_dtype(part.dtype) for part in keras.tree.flatten(nest)]
        for nest in (state, new_state)
    ]
    assert dtypes[0] == dtypes[1]
    # bfloat16 has 8 bits; the logits' deviation is the scale that errors are seen against.
    assert np.sqrt(np.mean((logits - exact) ** 2)) < 0.05 * exact.std()
    pieces = decoded(model, features["inputs"], [4, 1, 3], 8, features)
    assert np.sqrt(np.mean((pieces - exact) ** 2)) < 0.05 * exact.std()

    with step_seed(SEED):
        found = weight_gradients(model, lambda: loss_of(model, features, training=True))
    for path, gradient in found:
        assert gradient.dtype == "float32", path
        assert np.isfinite(gradient).all(), path


@pytest.mark.parametrize("name", ["lstm_tied", "modern", "translation_t5"])
def test_keras_fit_trains_the_model(name):
    keras.utils.set_random_seed(0)
    model = models.MODELS[name]()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=False)
    model.optimizer.learning_rate = 0.03
    features = example(model, 8, rows=16)
    history = model.fit(features, features["inputs"], 8, epochs=10, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]
