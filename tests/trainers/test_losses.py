import numpy as np
import pytest
import tensorflow as tf

from trainers.errors import UserError
from trainers.losses import CrossEntropy

B, T, V = 3, 5, 11


def made(seed=0):
    """(logits, targets, weights), the last row without weight."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(B, T, V), scale=3).astype("float32")
    targets = random.integers(V, size=(B, T)).astype("int32")
    weights = random.choice([0.0, 0.5, 1.0], (B, T)).astype("float32")
    weights[-1] = 0
    return logits, targets, weights


def reference(logits, targets, weights, label_smoothing=0.0, z_loss=0.0):
    """(objective, nll) as the papers write them, in float64."""
    logits = logits.astype("float64")
    log_z = np.log(np.exp(logits).sum(-1))
    log_p = logits - log_z[..., None]
    one_hot = np.eye(V)[targets]
    smooth = (1 - label_smoothing) * one_hot + label_smoothing / V
    objective = -(smooth * log_p).sum(-1) + z_loss * log_z**2
    return (objective * weights).sum(), -((one_hot * log_p).sum(-1) * weights).sum()


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1}, {"z_loss": 0.01}])
def test_equals_the_formula_in_float64(settings):
    # Truth: `reference`, the formulas of the papers that CrossEntropy names.
    objective, nll = CrossEntropy(**settings)(*made())
    expected = reference(*made(), **settings)
    np.testing.assert_allclose([objective, nll], expected, rtol=1e-6)


def test_smoothing_and_z_loss_add_up_and_leave_the_plain_loss_plain():
    objective, nll = CrossEntropy(0.2, 0.03)(*made())
    np.testing.assert_allclose([objective, nll], reference(*made(), 0.2, 0.03), rtol=1e-6)
    np.testing.assert_array_equal(nll, CrossEntropy()(*made())[1])


def test_sums_of_parts_are_the_sum_of_the_whole():
    parts = [CrossEntropy(0.1, 0.01)(*(x[i : i + 1] for x in made())) for i in range(B)]
    whole = CrossEntropy(0.1, 0.01)(*made())
    np.testing.assert_allclose(np.sum(parts, 0), whole, rtol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1, "z_loss": 0.01}])
def test_tokens_without_weight_add_nothing_and_get_no_gradient(settings):
    logits, targets, weights = made()
    changed = np.where(weights[..., None] == 0, logits + 5, logits)
    other_targets = np.where(weights == 0, 0, targets)
    whole = CrossEntropy(**settings)(logits, targets, weights)
    np.testing.assert_array_equal(CrossEntropy(**settings)(changed, other_targets, weights), whole)
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        objective, _ = CrossEntropy(**settings)(logits, targets, weights)
    gradient = tape.gradient(objective, logits).numpy()
    assert not gradient[weights == 0].any()
    assert gradient[weights > 0].any(-1).all()


def test_gradient_is_probability_less_target():
    # Truth: d nll / d logits = softmax - one-hot.
    logits, targets, weights = made()
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        objective, _ = CrossEntropy()(logits, targets, weights)
    p = np.exp(logits.numpy().astype("float64"))
    expected = (p / p.sum(-1, keepdims=True) - np.eye(V)[targets]) * weights[..., None]
    np.testing.assert_allclose(tape.gradient(objective, logits), expected, atol=1e-6)


@pytest.mark.parametrize("around", [lambda f: f, tf.function], ids=["eager", "in a graph"])
@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.2, "z_loss": 0.03}])
def test_gradient_is_that_of_the_formula(settings, around):
    # Truth: automatic differentiation of the formulas in float64, of both sums.
    logits, targets, weights = made()

    def mixture(objective, nll):
        return objective + 0.3 * nll

    with tf.GradientTape() as tape:
        wide = tf.constant(logits, "float64"), tf.constant(weights, "float64")
        tape.watch(wide)
        log_p = tf.nn.log_softmax(wide[0])
        share = settings.get("label_smoothing", 0.0)
        one_hot = tf.one_hot(targets, V, dtype="float64")
        objective = -tf.reduce_sum(((1 - share) * one_hot + share / V) * log_p, -1)
        log_z = tf.reduce_logsumexp(wide[0], -1)
        objective += settings.get("z_loss", 0.0) * log_z**2
        nll = -tf.reduce_sum(one_hot * log_p, -1)
        truth = mixture(tf.reduce_sum(objective * wide[1]), tf.reduce_sum(nll * wide[1]))
    expected = tape.gradient(truth, wide)

    @around
    def gradients(logits, weights):
        with tf.GradientTape() as tape:
            tape.watch([logits, weights])
            value = mixture(*CrossEntropy(**settings)(logits, targets, weights))
        return tape.gradient(value, [logits, weights])

    found = gradients(tf.constant(logits), tf.constant(weights))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_large_logits_stay_finite():
    logits, targets, weights = made()
    assert np.isfinite(CrossEntropy(0.1, 1e-4)(logits * 1e4, targets, weights)).all()


def operations(**settings):
    arguments = [tf.TensorSpec(x.shape, x.dtype) for x in made()]
    graph = tf.function(CrossEntropy(**settings)).get_concrete_function(*arguments).graph
    return [operation.type for operation in graph.get_operations()]


def test_what_is_not_asked_for_is_not_computed():
    assert not {"Mean", "Square"} & set(operations())
    assert "Mean" not in operations(z_loss=0.1)
    assert "Square" not in operations(label_smoothing=0.1)


@pytest.mark.parametrize("settings", [{"label_smoothing": 1.0}, {"z_loss": -0.1}])
def test_values_that_make_no_sense_are_refused_by_name(settings):
    (name, value), *_ = settings.items()
    with pytest.raises(UserError, match=rf"^CrossEntropy.{name} = {value}: "):
        CrossEntropy(**settings)
