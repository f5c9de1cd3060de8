"""Truth throughout: the paper's formula in numpy, and one tape over the logits of the whole batch."""

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.pairing import LENGTH, MODELS, ROWS, STEPS, V, made, model_of, plan_of, store
from tests.trainers.processes import two_cpus
from trainers import chunked_loss
from trainers.data import tasks
from trainers.errors import UserError
from trainers.losses import CrossEntropy
from trainers.preferences import DPO, PairEvaluation, answers_of


def formula(answers, reference, beta, label_smoothing=0.0):
    """(losses, margins) [B] of log-probabilities [B, 2], as the papers write them, in float64."""
    ratios = np.asarray(answers, "float64") - np.asarray(reference, "float64")
    margins = beta * ratios[:, 0] - beta * ratios[:, 1]
    losses = -np.log(1 / (1 + np.exp(-margins)))
    wrong = -np.log(1 / (1 + np.exp(margins)))
    return (1 - label_smoothing) * losses + label_smoothing * wrong, margins


def moved(family, seed=1):
    """A model whose weights matter, and are not those that the reference had."""
    model = model_of(family)
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(0.4 * random.normal(size=weight.shape))
    return model


def batch_of(family, step=0, training=True):
    """Features of a batch; the reference's numbers are made up."""
    plan = plan_of(family, training)
    random = np.random.default_rng(0)
    plan.reference = random.normal(-60, 5, (plan.rows_per_epoch, 2)).astype("float32")
    return {name: tf.constant(feature) for name, feature in plan.batch(step).items()}


def plain_answers(model, features):
    """[B, 2] of the logits of everything, by the masks of the two segments."""
    log_p = tf.nn.log_softmax(model(features), axis=-1)
    chosen = tf.gather(log_p, features["targets"], axis=-1, batch_dims=2)
    masks = [
        features["weights"] * tf.cast(features["segments"] == side, "float32") for side in (1, 2)
    ]
    return tf.stack([tf.reduce_sum(chosen * mask, axis=1) for mask in masks], axis=1)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_and_the_rewards_are_the_papers(smoothing):
    random = np.random.default_rng(0)
    answers, reference = random.normal(-30, 4, (2, 9, 2)).astype("float32")
    losses, margins = formula(answers, reference, 0.3, smoothing)
    measured, slope = DPO(0.3, smoothing).measure(tf.constant(answers), tf.constant(reference))
    measured = measured.numpy()
    np.testing.assert_allclose(measured[:, 0], losses, rtol=1e-5)
    np.testing.assert_array_equal(measured[:, 1], 1)
    np.testing.assert_array_equal(measured[:, 2], margins > 0)
    assert {0, 1} == set(measured[:, 2])
    np.testing.assert_allclose(measured[:, 3:], 0.3 * (answers - reference), rtol=1e-5)
    likelier = answers.astype("float64")
    likelier[:, 0] += 1e-4
    after, _ = formula(likelier, reference, 0.3, smoothing)
    np.testing.assert_allclose(slope, (after - losses) / 1e-4, atol=1e-4)


@pytest.mark.parametrize("tokens", [1000, 30], ids=["at once", "in chunks"])
@pytest.mark.parametrize("family", MODELS)
def test_sums_and_gradients_are_those_of_the_whole_loss_by_one_tape(family, tokens, monkeypatch):
    monkeypatch.setattr(chunked_loss, "MOST_LOGITS", tokens * V)
    model, features = moved(family), batch_of(family)
    variables = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        answers = plain_answers(model, features)
        ratios = 0.2 * (answers - features["reference"])
        margins = ratios[:, 0] - ratios[:, 1]
        loss = -tf.reduce_sum(
            0.9 * tf.math.log_sigmoid(margins) + 0.1 * tf.math.log_sigmoid(-margins)
        )
    expected = tape.gradient(loss, variables, unconnected_gradients="zero")
    state = model.initial_state(ROWS)
    sums, found, _ = chunked_loss.loss_and_gradients(model, DPO(0.2, 0.1), features, state)
    losses, in_numpy = formula(answers, features["reference"], 0.2, 0.1)
    rewards = ratios.numpy().sum(0)
    np.testing.assert_allclose(
        sums, [losses.sum(), ROWS, (in_numpy > 0).sum(), *rewards], rtol=1e-5, atol=1e-4
    )
    for one, other in zip(found, expected, strict=True):
        other = tf.convert_to_tensor(other).numpy()
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * max(np.abs(other).max(), 1e-3))


@pytest.mark.parametrize("family", MODELS)
def test_sums_are_the_same_in_micro_batches(family):
    whole, plan, _ = made(family)
    parts, _, _ = made(family, accumulation=4)
    plan.reference = plan.reference + np.random.default_rng(0).normal(size=plan.reference.shape)
    plan.reference = plan.reference.astype("float32")
    features = {name: tf.constant(feature) for name, feature in plan.batch(0).items()}
    found, expected = (step.sums_of_batch(features, 1.0) for step in (parts, whole))
    assert expected[1] == ROWS
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 * max(np.abs(other).max(), 1e-2))


def test_replicas_by_parts_give_the_losses_and_weights_of_one_device():
    found, expected = (
        {
            key: two_cpus()[f"pairs/{way}/{key}"]
            for key in ("reference", "results", "weights", "evaluated")
        }
        for way in ("replicas", "one device")
    )
    for run in (found, expected):
        run["results"][0, 3] = 0  # at first margins are rounding, of either sign
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-4, err_msg=key)
    assert expected["reference"].shape == (21, 2)
    first, *_, last = expected["results"]
    assert first[0] / first[1] == pytest.approx(np.log(2), rel=1e-4)  # the margin is 0 still
    assert last[0] < 0.9 * first[0]
    assert len(expected["results"]) == STEPS


@pytest.mark.parametrize("family", MODELS)
def test_an_answer_in_a_pair_is_as_likely_as_alone(family):
    model, features = moved(family), batch_of(family, training=False)
    found = answers_of(model, features).numpy()
    for side in (1, 2):
        for row in range(3):
            alone = {}
            for name in ("inputs", "targets", "positions", "weights"):
                here = features["segments"][row] == side
                alone[name] = tf.boolean_mask(features[name][row], here)[None]
            if "source" in features:
                here = features["source_segments"][row] == side
                alone["source"] = tf.boolean_mask(features["source"][row], here)[None]
            log_p = tf.nn.log_softmax(model(alone), axis=-1)
            each = tf.gather(log_p, alone["targets"], axis=-1, batch_dims=2)
            expected = tf.reduce_sum(each * alone["weights"])
            np.testing.assert_allclose(found[row, side - 1], expected, rtol=1e-5)


def test_evaluation_measures_every_pair_once():
    model, plan = moved("decoder_lm"), plan_of("decoder_lm", training=False)
    plan.reference = np.random.default_rng(0).normal(-60, 5, (21, 2)).astype("float32")
    answers = [plain_answers(model, plan.batch(step)) for step in range(plan.steps_per_epoch)]
    assert plan.steps_per_epoch * ROWS > 21  # rows are left over
    losses, margins = formula(np.concatenate(answers)[:21], plan.reference, 0.1)
    found = PairEvaluation(model, plan, tf.distribute.get_strategy(), False).run()
    assert found["pairs"] == 21
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert found["reward_accuracy"] == pytest.approx((margins > 0).mean())
    assert found["reward_margin"] == pytest.approx(margins.mean(), rel=1e-5)
    difference = found["chosen_reward"] - found["rejected_reward"]
    assert difference == pytest.approx(found["reward_margin"], rel=1e-6)


@pytest.mark.parametrize(
    "settings", [{"beta": 0.0}, {"label_smoothing": 0.5}, {"label_smoothing": -0.1}]
)
def test_values_that_make_no_sense_are_refused_by_name(settings):
    ((name, value),) = settings.items()
    with pytest.raises(UserError, match=rf"^DPO.{name} = {value}: "):
        DPO(**settings)


def test_an_objective_that_the_task_has_nothing_for_is_refused():
    of_texts = tasks.language_modelling(None)
    of_pairs = type("Task", (), {"pairs": True})
    with pytest.raises(
        UserError, match="@DPO: the task has no pairs of answers; set @CrossEntropy"
    ):
        DPO().check(of_texts)
    with pytest.raises(UserError, match="@CrossEntropy: the task has pairs of answers; set @DPO"):
        CrossEntropy().check(of_pairs)
    CrossEntropy().check(of_texts)
    DPO().check(of_pairs)


def test_a_row_has_room_for_both_answers():
    assert store().meta["pairs"]
    plan = plan_of("encoder_decoder")
    assert plan.feature_shapes["inputs"] == ("int32", (2 * LENGTH,))
    assert plan.feature_shapes["source"] == ("int32", (2 * LENGTH,))
