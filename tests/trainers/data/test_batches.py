"""The truth about batches is the store itself, and examples laid out one by one in Python."""

import collections
import logging

import numpy as np
import pytest

from tests.trainers.data.made import language_store, pair_store
from trainers.data.batches import contiguous, windows
from trainers.data.example_batches import auto, bucketed, check_apart, packed
from trainers.data.simple_tokenizers import WordsTokenizer
from trainers.errors import UserError
from zoo import LSTMLM, PretrainedLM

PLANS = [windows, contiguous, packed, bucketed]
# (number of texts, batch size, sequence length): nothing is a multiple of anything.
SIZES = [(1, 1, 5), (23, 3, 7), (50, 4, 16), (7, 5, 40), (3, 8, 64)]


def texts(count, seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abcdefgh "), rng.integers(30))) + "." for _ in range(count)]


def pairs(count):
    return list(zip(texts(count), texts(count, seed=1), strict=True))


def epoch_of(plan, epoch=0):
    steps = plan.steps_per_epoch
    return [plan.batch(step) for step in range(epoch * steps, (epoch + 1) * steps)]


def same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.fixture(params=PLANS, ids=lambda plan: plan.__name__)
def plan_of(request):
    return request.param


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_shards", [2, 3, 6])
def test_shards_put_together_are_the_global_batch(plan_of, tmp_path, training, num_shards):
    plan = plan_of(language_store(tmp_path, texts(40)), 6, 8, seed=3, training=training)
    for step in [0, 1, plan.steps_per_epoch - 1, plan.steps_per_epoch, 1000]:
        shards = [plan.batch(step, shard, num_shards) for shard in range(num_shards)]
        whole = {name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]}
        same(plan.batch(step), whole)


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_is_a_pure_function_with_the_promised_shapes(plan_of, tmp_path, training):
    store = language_store(tmp_path, texts(40))
    plan, again = (plan_of(store, 4, 8, seed=3, training=training) for _ in range(2))
    for step in [5, 0, 10**6, 3]:
        batch = plan.batch(step)
        same(batch, again.batch(step))
        assert list(plan.feature_shapes) == sorted(batch, key=list(plan.feature_shapes).index)
        for name, (dtype, (length,)) in plan.feature_shapes.items():
            assert batch[name].dtype == dtype
            assert batch[name].shape[0] == 4
            assert length in (None, batch[name].shape[1])


@pytest.mark.parametrize("count, batch_size, length", SIZES)
def test_evaluation_covers_each_target_token_once(plan_of, tmp_path, count, batch_size, length):
    store = language_store(tmp_path, texts(count))
    plan = plan_of(store, batch_size, length, training=False)
    seen = collections.Counter()
    for batch in epoch_of(plan):
        real = batch["weights"] > 0
        np.testing.assert_array_equal(real, batch["segments"] > 0)
        seen.update(zip(batch["inputs"][real], batch["targets"][real], strict=True))
    tokens = store.tokens.tolist()
    assert seen == collections.Counter(zip([0, *tokens[:-1]], tokens, strict=True))
    assert not any(batch["weights"].any() for batch in epoch_of(plan, epoch=1))


@pytest.mark.parametrize("in_source", [True, False])
@pytest.mark.parametrize("plan_of", [packed, bucketed])
@pytest.mark.parametrize("count, batch_size, length", [(23, 3, 64), (50, 4, 70), (3, 8, 64)])
def test_evaluation_of_pairs_weighs_each_answer_once(
    plan_of, tmp_path, count, batch_size, length, in_source
):
    store = pair_store(tmp_path, pairs(count))
    source_length = 41 if in_source else None
    plan = plan_of(store, batch_size, length, source_length=source_length, training=False)
    answers = [target.encode() for _, target in pairs(count)]
    seen = b""
    for batch in epoch_of(plan):
        for targets, weights in zip(batch["targets"], batch["weights"], strict=True):
            seen += bytes((targets[weights > 0] - 1).astype("uint8"))
    assert sorted(seen.split(b"\xff")[:-1]) == sorted(answers)


def row_of_examples(examples, length, in_source):
    """What a row of pairs is, spelt out token by token. [(inputs, targets)] as lists of ids."""
    row = collections.defaultdict(list)
    for segment, (inputs, targets) in enumerate(examples, 1):
        source = [*inputs, 0]
        answer = [*targets, 0]
        if in_source:
            row["source"] += source
            row["source_segments"] += [segment] * len(source)
            row["source_positions"] += range(len(source))
            tokens, weights = answer, [1] * len(answer)
        else:
            tokens, weights = source + answer, [0] * len(source) + [1] * len(answer)
        row["inputs"] += [0, *tokens[:-1]]
        row["targets"] += tokens
        row["weights"] += weights
        row["segments"] += [segment] * len(tokens)
        row["positions"] += range(len(tokens))
    return {name: values + [0] * (length - len(values)) for name, values in row.items()}


@pytest.mark.parametrize("in_source", [True, False])
def test_packed_rows_hold_the_examples_alone(tmp_path, in_source):
    store = pair_store(tmp_path, pairs(50))
    length = 80
    source_length = length if in_source else None
    plan = packed(store, 4, length, source_length=source_length, training=False)
    remaining = [[[b + 1 for b in text.encode()] for text in pair] for pair in pairs(50)]
    for batch in epoch_of(plan):
        for r in range(4):
            number = batch["segments"][r].max()
            examples, remaining = remaining[:number], remaining[number:]
            for name, values in row_of_examples(examples, length, in_source).items():
                np.testing.assert_array_equal(batch[name][r], values, err_msg=name)
    assert not remaining


@pytest.mark.parametrize("plan_of", [packed, bucketed])
def test_inputs_weigh_in_training_what_they_are_said_to(tmp_path, plan_of):
    store = pair_store(tmp_path, pairs(50))
    plain, weighed, measured = (
        plan_of(store, 4, 80, training=training, input_weight=weight)
        for training, weight in ((True, 0.0), (True, 0.25), (False, 0.25))
    )
    for step in range(5):
        learned, found = plain.batch(step), weighed.batch(step)
        inputs = (found["segments"] > 0) & (learned["weights"] == 0)
        assert inputs.any()
        expected = learned["weights"] + np.float32(0.25) * inputs
        same(found, {**learned, "weights": expected})
        assert set(np.unique(measured.batch(step)["weights"])) <= {0, 1}


def test_what_has_no_inputs_to_predict_is_refused(tmp_path):
    with pytest.raises(UserError, match="an encoder's inputs are not predicted; set it to 0"):
        packed(pair_store(tmp_path, pairs(9)), 4, 80, source_length=80, input_weight=0.5)
    with pytest.raises(UserError, match="only a text-to-text task has inputs"):
        packed(language_store(tmp_path, texts(9)), 4, 80, input_weight=0.5)


def test_packed_rows_are_well_filled(tmp_path):
    plan = packed(language_store(tmp_path, texts(300)), 8, 128, training=False)
    filled = np.concatenate([batch["segments"] > 0 for batch in epoch_of(plan)[:-1]])
    assert filled.mean() > 0.85


def rows_of_epoch(plan, epoch):
    """The rows of an epoch of any number of rows, each a dict."""
    rows = []
    for index in range(epoch * plan.rows_per_epoch, (epoch + 1) * plan.rows_per_epoch):
        step, row = divmod(index, plan.batch_size)
        rows.append({name: feature[row] for name, feature in plan.batch(step).items()})
    return rows


def test_each_training_epoch_covers_each_window_once_in_its_own_order(tmp_path):
    numbers = WordsTokenizer([str(i) for i in range(1000)])
    store = language_store(tmp_path, [" ".join(numbers.words[2:])], tokenizer=numbers)
    plan = windows(store, 4, 16, seed=5)
    orders = []
    for epoch in range(3):
        rows = rows_of_epoch(plan, epoch)
        starts = [int(row["targets"][0]) - 2 for row in rows]
        orders.append([(start - min(starts)) // 16 for start in starts])
        assert sorted(starts) == list(range(min(starts), max(starts) + 1, 16))
        assert 0 <= min(starts) < 16 and len(starts) == plan.rows_per_epoch == 61
        assert all(row["weights"].all() for row in rows)
    assert orders[0] != orders[1] != orders[2]


def test_each_training_epoch_covers_each_packed_row_once_in_its_own_order(tmp_path):
    store = language_store(tmp_path, texts(100))
    in_order = [
        row["targets"].tobytes() for row in rows_of_epoch(packed(store, 4, 16, training=False), 0)
    ]
    plan = packed(store, 4, 16, seed=5)
    orders = [[row["targets"].tobytes() for row in rows_of_epoch(plan, e)] for e in range(2)]
    assert orders[0] != orders[1] != in_order
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(in_order)


def test_windows_begin_elsewhere_in_each_epoch(tmp_path):
    store = language_store(tmp_path, ["".join(chr(33 + i) for i in range(90))])
    plan = windows(store, 1, 10)
    firsts = []
    for epoch in range(40):
        rows = rows_of_epoch(plan, epoch)
        firsts.append(min(int(row["targets"][0]) for row in rows) - 34)
    assert set(firsts) == set(range(10))


def test_a_window_shorter_than_the_text_by_little_is_one_row(tmp_path):
    plan = windows(language_store(tmp_path, ["abcdefghi"]), 2, 10)
    assert plan.rows_per_epoch == 1
    np.testing.assert_array_equal(plan.batch(0)["inputs"], [[0, *range(98, 107)]] * 2)


@pytest.mark.parametrize("stride", [1, 3, 7, 15, 16])
@pytest.mark.parametrize("count, batch_size", [(1, 2), (3, 2), (40, 5)])
def test_overlapping_windows_count_each_token_once_after_enough_context(
    tmp_path, count, batch_size, stride
):
    store = language_store(tmp_path, texts(count), split="validation")
    length, tokens = 16, len(store.tokens)
    plan = windows(store, batch_size, length, training=False, evaluation_stride=stride)
    counted = []
    for step in range(plan.steps_per_epoch):
        batch = plan.batch(step)
        for row in range(batch_size):
            places = np.flatnonzero(batch["weights"][row])
            start = (step * batch_size + row) * stride
            counted += list(start + places)
            np.testing.assert_array_equal(
                batch["targets"][row, places], store.tokens[start:][places]
            )
            if len(places) and start:
                assert places[0] >= length - stride
    assert counted == list(range(tokens))


def test_training_knows_no_stride_and_a_stride_past_the_window_is_refused(tmp_path):
    store = language_store(tmp_path, texts(40))
    plans = [windows(store, 4, 16, evaluation_stride=stride) for stride in (None, 4)]
    assert plans[0].rows_per_epoch == plans[1].rows_per_epoch
    same(plans[0].batch(5), plans[1].batch(5))
    for stride in (0, 17):
        with pytest.raises(UserError, match=f"evaluation_stride = {stride}: must be from 1 to"):
            windows(store, 4, 16, evaluation_stride=stride)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("count, batch_size, length", SIZES[:4])
def test_contiguous_rows_go_on_from_batch_to_batch(tmp_path, count, batch_size, length, training):
    store = language_store(tmp_path, texts(count))
    plan = contiguous(store, batch_size, min(length, len(store.tokens)), training=training)
    assert plan.rows_per_epoch == batch_size * plan.steps_per_epoch
    batches = epoch_of(plan)
    targets, inputs, weights, positions = (
        np.concatenate([batch[name] for batch in batches], axis=1)
        for name in ("targets", "inputs", "weights", "positions")
    )
    for b in range(batch_size):
        real = weights[b] > 0
        assert real[: real.sum()].all()
        np.testing.assert_array_equal(inputs[b][real][1:], targets[b][real][:-1])
        np.testing.assert_array_equal(positions[b][real], np.arange(real.sum()))
    np.testing.assert_array_equal(targets[weights > 0], store.tokens)
    if training:
        same(plan.batch(0), plan.batch(plan.steps_per_epoch))


def test_bucketed_batches_have_few_shapes_and_little_padding(tmp_path):
    store = pair_store(tmp_path, pairs(200))
    plan = bucketed(store, 8, 64, source_length=48, buckets=3)
    shapes, filled = set(), []
    for batch in epoch_of(plan):
        shapes.add((batch["targets"].shape[1], batch["source"].shape[1]))
        filled.append((batch["segments"] > 0).mean())
        assert set(np.unique(batch["segments"])) <= {0, 1}
    assert shapes <= {(t, s) for t in (16, 32, 64) for s in (12, 24, 48)}
    assert len(shapes) > 1
    assert np.mean(filled) > 0.55


@pytest.mark.parametrize("in_source", [True, False])
def test_training_epochs_of_buckets_are_the_same_batches_in_another_order(tmp_path, in_source):
    store = pair_store(tmp_path, pairs(60))
    plan = bucketed(store, 7, 64, source_length=48 if in_source else None)
    epochs = [[batch["targets"].tobytes() for batch in epoch_of(plan, e)] for e in range(2)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1])
    total = sum(batch["weights"].sum() for batch in epoch_of(plan))
    assert total == store.meta["target_tokens"]


def test_examples_that_are_too_long_keep_the_end_of_inputs_and_the_start_of_targets(
    tmp_path, caplog
):
    store = pair_store(tmp_path, [("abcdefgh", "xy"), ("ab", "uvwxyz12"), ("abcdefgh", "stuvwxyz")])
    with caplog.at_level(logging.WARNING):
        rows = bucketed(store, 3, 8, training=False).batch(0)
        bucketed(store, 3, 8, training=False)
    assert [r.getMessage() for r in caplog.records] == [
        "3 of 3 examples of the train split are longer than a row and were cut"
    ]
    shown = {
        "".join(chr(t - 1) if t else "|" for t in targets): weights.tolist()
        for targets, weights in zip(rows["targets"], rows["weights"], strict=True)
    }
    assert shown == {
        "efgh|xy|": [0] * 5 + [1] * 3,
        "ab|uvwxy": [0] * 3 + [1] * 5,
        "fgh|stuv": [0] * 4 + [1] * 4,
    }
    batch = bucketed(store, 3, 8, source_length=4, training=False).batch(0)
    sources = {"".join(chr(t - 1) if t else "|" for t in row) for row in batch["source"]}
    assert sources == {"ab||", "fgh|"}


def test_long_documents_are_cut_to_pieces_and_lose_nothing(tmp_path):
    plan = packed(language_store(tmp_path, ["abcdefghijkl", "m"]), 4, 5, training=False)
    batch = plan.batch(0)
    np.testing.assert_array_equal(batch["targets"][0], range(98, 103))
    np.testing.assert_array_equal(batch["inputs"][1], range(102, 107))
    np.testing.assert_array_equal(batch["positions"][2], [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(batch["segments"][2], [1, 1, 1, 2, 2])


@pytest.mark.parametrize("plan_of", [windows, contiguous])
def test_too_little_text_and_the_wrong_task_are_explained(plan_of, tmp_path):
    store = language_store(tmp_path, ["abc"])
    with pytest.raises(UserError, match="SEQUENCE_LENGTH = 5: the train split has only 4 tokens"):
        plan_of(store, 1, 5)
    assert plan_of(store, 1, 5, training=False).batch(0)["weights"].sum() == 4
    with pytest.raises(UserError, match="choose packed or bucketed"):
        plan_of(pair_store(tmp_path, [("a", "b")]), 1, 2)
    with pytest.raises(UserError, match="choose packed or bucketed"):
        plan_of(store, 1, 2, source_length=2)


@pytest.mark.parametrize("plan_of", [packed, bucketed])
def test_language_modelling_has_nothing_for_an_encoder(plan_of, tmp_path):
    with pytest.raises(UserError, match="nothing for an encoder to read"):
        plan_of(language_store(tmp_path, ["abc"]), 1, 8, source_length=8)


def test_auto_packs_pairs_and_cuts_a_stream_to_windows(tmp_path):
    pair_plans = [plan_of(pair_store(tmp_path, pairs(40)), 4, 64) for plan_of in (auto, packed)]
    same(pair_plans[0].batch(3), pair_plans[1].batch(3))
    text_plans = [
        plan_of(language_store(tmp_path, texts(40)), 4, 64) for plan_of in (auto, windows)
    ]
    same(text_plans[0].batch(3), text_plans[1].batch(3))


@pytest.mark.parametrize("plan", [packed, auto])
def test_plans_that_pack_are_refused_for_models_that_read_a_row_as_one_example(plan):
    alone = PretrainedLM.__new__(PretrainedLM)
    with pytest.raises(UserError, match=f"@{plan.__name__}: .* PretrainedLM reads a row as one"):
        check_apart(plan, "text_to_text", alone)
    check_apart(plan, "text_to_text", LSTMLM.__new__(LSTMLM))
    check_apart(windows, "language_modelling", alone)
    check_apart(bucketed, "text_to_text", alone)
