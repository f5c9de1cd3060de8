import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.processes import two_cpus, two_workers
from tests.trainers.stepping import (
    OPTIMIZER_OF,
    QUICK,
    ROWS,
    SLOW,
    flat,
    iterator,
    make,
    masks,
    plan_of,
    trained,
)
from trainers.step import global_norm

OTHER_WAYS = [  # than one device
    *[(family, way, False) for family, ways in QUICK.items() for way in ways],
    *[
        pytest.param(family, way, True, marks=pytest.mark.slow)
        for family, ways in SLOW.items()
        for way in ways
    ],
]


@pytest.mark.parametrize("family, way, slow", OTHER_WAYS)
def test_every_division_of_a_batch_gives_the_losses_and_weights_of_one_device(family, way, slow):
    # Truth: the same 20 steps on one device, whole batch, XLA. What remains is rounding.
    keys = ("results", "weights", "state", "evaluated")
    expected = {key: two_cpus(slow)[f"{family}/one device/{key}"] for key in keys}
    found = two_workers(slow)[0] if "workers" in way else two_cpus(slow)
    actual = {key: found[f"{family}/{way}/{key}"] for key in keys}
    for column, bound in enumerate((1e-6, 0, 1e-5)):  # summed loss, weight, gradient's norm
        each, other = (found["results"][:, column] for found in (actual, expected))
        np.testing.assert_allclose(each, other, rtol=bound)
    np.testing.assert_allclose(actual["weights"], expected["weights"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(actual["state"], expected["state"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(actual["evaluated"], expected["evaluated"], rtol=1e-6)
    assert expected["evaluated"][2] == plan_of(family, training=False).store.meta["target_tokens"]


@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_workers_end_with_the_same_bits(slow):
    first, second = two_workers(slow)
    assert any(name.endswith("/weights") for name in first)
    for name in first.keys() - {"masks"}:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize("family, optimizer", OPTIMIZER_OF.items())
def test_those_batches_are_unequal_for_replicas_and_their_gradients_are_clipped(family, optimizer):
    _, plan = make(family, optimizer)
    weights = np.stack([plan.batch(step)["weights"].sum(1) for step in range(20)])
    replicas = weights.reshape(20, 2, ROWS // 2).sum(2)
    assert (replicas[:, 0] != replicas[:, 1]).any()
    norms = two_cpus()[f"{family}/one device/results"][:, 2]
    assert (norms > 0.5).any()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("loss_per", ["token", "row"])
def test_a_step_is_mean_loss_then_clipping_then_the_papers_update(optimizer, loss_per):
    # Truth: the loss by TensorFlow's softmax of the whole batch, the update by its formula
    # in numpy float64 (Kingma and Ba 2015, algorithm 1, epsilon as in its section 2).
    clip_norm = 0.3
    step, plan = make("decoder_lm", optimizer, clip_norm=clip_norm, loss_per=loss_per)
    plain, _ = make("decoder_lm", optimizer)
    variables = plain.model.trainable_variables
    first = [np.zeros(v.shape) for v in variables]
    second = [np.zeros(v.shape) for v in variables]
    feed = iterator(step, plan)
    for count in range(1, 4):
        batch = plan.batch(count - 1)
        with tf.GradientTape() as tape:
            logits = plain.model(batch, training=True)
            log_p = tf.nn.log_softmax(logits)
            nll = -tf.gather(log_p, batch["targets"], axis=2, batch_dims=2)
            total = batch["weights"].sum() if loss_per == "token" else ROWS
            loss = tf.reduce_sum(nll * batch["weights"]) / total
        gradients = tape.gradient(loss, [v.value for v in variables])
        gradients = [tf.convert_to_tensor(g).numpy().astype("float64") for g in gradients]
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        gradients = [g * min(1, clip_norm / norm) for g in gradients]
        for i, (variable, g) in enumerate(zip(variables, gradients, strict=True)):
            if optimizer == "sgd":
                variable.assign_sub(0.5 * g)
                continue
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g**2
            rate = 0.01 * np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
            variable.assign_sub(rate * first[i] / (np.sqrt(second[i]) + 1e-7))
        [[summed, weight, reported]] = step.run(feed, 1)
        assert summed / total == pytest.approx(float(loss), rel=5e-6)
        assert weight == batch["weights"].sum()
        assert reported == pytest.approx(norm, rel=1e-5)
        assert norm > clip_norm
        np.testing.assert_allclose(
            flat(step.model.trainable_variables), flat(variables), rtol=0, atol=1e-5
        )


def test_fractional_weights_below_one_in_all_still_give_the_mean():
    small, plan = make("bigram", "sgd")
    whole, _ = make("bigram", "sgd")
    batch = plan.batch(0)
    for step, factor in ((small, 1e-3), (whole, 1.0)):
        scaled = batch | {"weights": batch["weights"] * np.float32(factor)}
        step.run(iter(tf.data.Dataset.from_tensors(scaled)), 1)
    np.testing.assert_allclose(
        flat(small.model.trainable_variables), flat(whole.model.trainable_variables), atol=1e-6
    )


@pytest.mark.parametrize("optimizer, decay", [("sgd", 0), ("adamw", 0.001), ("muon", 0.002)])
def test_a_step_without_weight_changes_nothing_but_by_decay(optimizer, decay):
    # Truth: decoupled decay multiplies by 1 - rate * decay (Loshchilov and Hutter 2019).
    step, plan = make("bigram", optimizer, clip_norm=1.0)
    before = [v.numpy() for v in step.model.trainable_variables]
    batch = plan.batch(0) | {"weights": np.zeros((ROWS, 24), "float32")}
    results = step.run(iter(tf.data.Dataset.from_tensors(batch)), 1)
    np.testing.assert_array_equal(results, [[0, 0, 0]])
    for variable, old in zip(step.model.trainable_variables, before, strict=True):
        spared = variable.name == "bias" or (optimizer == "muon" and variable.name != "kernel")
        expected = old if spared else old * (1 - decay)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6, err_msg=variable.name)


@pytest.mark.parametrize("xla", [True, False])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_dropout_differs_between_steps_and_micro_batches_and_is_the_same_again(xla, accumulation):
    drawn = masks(xla=xla, accumulation=accumulation)
    blocks = drawn.reshape(2 * accumulation, -1)
    for i, block in enumerate(blocks):
        assert set(np.unique(block)) == {0.0, 2.0}
        assert 0.9 < block.mean() < 1.1
        for other in blocks[:i]:
            assert 0.3 < (block == other).mean() < 0.7
    np.testing.assert_array_equal(drawn, masks(xla=xla, accumulation=accumulation))
    assert 0.3 < (drawn == masks(xla=xla, accumulation=accumulation, seed=1)).mean() < 0.7


def test_dropout_of_workers_is_that_of_as_many_replicas():
    np.testing.assert_array_equal(two_workers()[0]["masks"], two_cpus()["masks"])


@pytest.mark.parametrize("name, blocks", [("masks", 4), ("masks without XLA", 8)])
def test_dropout_differs_between_replicas(name, blocks):
    drawn = two_cpus()[name].reshape(blocks, -1)  # steps x replicas (x micro-batches)
    for i, block in enumerate(drawn):
        assert set(np.unique(block)) == {0.0, 2.0}
        for other in drawn[:i]:
            assert 0.3 < (block == other).mean() < 0.7


def test_dropout_goes_by_the_optimizers_step_so_that_a_resumed_run_draws_the_same():
    step, plan = make("masks", "sgd")
    step.optimizer.iterations.assign(1)
    step.run(iterator(step, plan, start=1), 1)
    np.testing.assert_array_equal(step.carried.get()[0], masks()[1])


@pytest.mark.parametrize("accumulation", [1, 2])
def test_carried_state_is_that_of_the_long_row(accumulation):
    # Truth: the model over the three rows joined, with weights that do not move.
    step, plan = make("lstm_lm", "sgd", accumulation=accumulation)
    step.optimizer.learning_rate = 0.0
    step.run(iterator(step, plan), 3)
    rows = [plan.batch(i) for i in range(3)]
    assert (rows[2]["positions"][:, 0] == 24).all()
    joined = {name: np.concatenate([row[name] for row in rows], 1) for name in rows[0]}
    _, state = step.model(joined, state=step.model.initial_state(ROWS))
    for actual, expected in zip(step.carried.get(), tf.nest.flatten(state), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_carried_state_reads_as_it_was_written():
    step, _ = make("lstm_lm")
    written = [np.random.default_rng(0).normal(size=a.shape) for a in step.carried.get()]
    step.carried.set([array.astype("float32") for array in written])
    for actual, expected in zip(step.carried.get(), written, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
    step.carried.reset()
    assert not any(array.any() for array in step.carried.get())


def test_rows_of_carried_state_lie_in_order_on_replicas():
    found = two_cpus()
    np.testing.assert_array_equal(found["carried/got"], found["carried/set"])
    np.testing.assert_array_equal(found["carried/first"], found["carried/set"][: ROWS // 2])
    np.testing.assert_array_equal(found["carried/second"], found["carried/set"][ROWS // 2 :])


def average_of(history, decay):
    """decay^n w_0 + (1 - decay) sum of decay^(n - i) w_i, in float64."""
    n = len(history) - 1
    shares = [decay**n, *((1 - decay) * decay ** (n - i) for i in range(1, n + 1))]
    return np.tensordot(shares, np.asarray(history, "float64"), 1)


@pytest.mark.parametrize("xla, accumulation", [(True, 1), (False, 4)])
def test_averages_follow_the_closed_formula_by_optimizer_step(xla, accumulation):
    # Truth: an exponential average written out as a sum.
    step, plan = make("bigram", "adamw", ema_decay=0.8, xla=xla, accumulation=accumulation)
    history = [flat(step.model.trainable_variables)]
    feed = iterator(step, plan)
    for _ in range(5):
        step.run(feed, 1)
        history.append(flat(step.model.trainable_variables))
    np.testing.assert_allclose(flat(step.averages), average_of(history, 0.8), atol=1e-7)


def test_averages_on_replicas_are_the_same_and_change_places_with_the_weights():
    found = {key: two_cpus()[f"averages/{key}"] for key in ("history", "kept", "inside", "after")}
    np.testing.assert_allclose(found["kept"], average_of(found["history"], 0.5), atol=1e-7)
    np.testing.assert_array_equal(found["inside"], found["kept"])
    np.testing.assert_array_equal(found["after"], found["history"][-1])
    np.testing.assert_array_equal(two_cpus()["averages/kept after"], found["kept"])
    first, second = two_cpus()["averages/of replicas"]
    np.testing.assert_array_equal(first, second)


def test_many_steps_in_one_call_equal_one_a_call():
    together, plan = make("bigram", "adamw")
    results = together.run(iterator(together, plan), 4)
    singly, _ = make("bigram", "adamw")
    feed = iterator(singly, plan)
    np.testing.assert_array_equal(results, np.concatenate([singly.run(feed, 1) for _ in range(4)]))
    assert int(together.optimizer.iterations) == 4


def test_a_step_compiled_anew_goes_on_where_it_was():
    step, plan = make("bigram", "adamw", ema_decay=0.9, xla=True)
    step.run(iterator(step, plan), 2)
    step.compile(xla=False)
    step.run(iterator(step, plan, 2), 2)
    whole, _ = make("bigram", "adamw", ema_decay=0.9)
    whole.run(iterator(whole, plan), 4)
    for name in ("averages", "model"):
        actual, expected = getattr(step, name), getattr(whole, name)
        if name == "model":
            actual, expected = actual.trainable_variables, expected.trainable_variables
        np.testing.assert_allclose(flat(actual), flat(expected), atol=1e-6)


@pytest.fixture
def bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")


@pytest.mark.parametrize(
    "family, ways",
    [
        ("decoder_lm", [{"xla": False}, {"xla_parts": True}]),
        pytest.param("lstm_lm", [{"xla": False}, {"xla": True}], marks=pytest.mark.slow),
    ],
)
def test_mixed_bfloat16_trains_with_float32_variables_and_xla_agrees(bfloat16, family, ways):
    # Truth: the same in float32; bfloat16 has 8 bits, so losses agree to some 2^-8.
    losses = []
    for way in ways:
        step, plan = make(family, "adamw", **way)
        results = step.run(iterator(step, plan), 15)
        losses.append(results[:, 0] / results[:, 1])
        assert {v.dtype for v in step.model.trainable_variables} == {"float32"}
        assert {v.dtype for v in step.optimizer.variables} == {"float32", "int64"}
        assert losses[-1][-1] < losses[-1][0] - 0.5
    full = trained_in_float32(family)
    for found in losses:
        np.testing.assert_allclose(found, full, rtol=0.02)


def trained_in_float32(family):
    keras.config.set_dtype_policy("float32")
    results = trained(family, "adamw", steps=15)["results"]
    return results[:, 0] / results[:, 1]


def test_the_norm_is_that_of_all_entries_whether_they_fold_or_not():
    # Truth: numpy in float64.
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=shape) for shape in [(32, 50), (7,), (3, 5), ()]]
    expected = np.linalg.norm(np.concatenate([array.ravel() for array in arrays]))
    found = global_norm([tf.constant(array, "float32") for array in arrays])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
