"""The truth about batches is the store itself, and examples laid out one by one in Python."""

import collections

import numpy as np
import pytest

from tests.trainers.data.made import (
    epoch_of,
    language_store,
    pair_store,
    pairs,
    rows_of_epoch,
    same,
    texts,
)
from trainers.data.batches import contiguous, windows
from trainers.data.example_batches import bucketed, packed
from trainers.data.simple_tokenizers import WordsTokenizer
from trainers.errors import UserError

PLANS = [windows, contiguous, packed, bucketed]
# (number of texts, batch size, sequence length): nothing is a multiple of anything.
SIZES = [(1, 1, 5), (23, 3, 7), (50, 4, 16), (7, 5, 40), (3, 8, 64)]


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


@pytest.mark.parametrize("plan_of", [windows, contiguous])
@pytest.mark.parametrize("training", [True, False])
def test_all_of_a_stream_counts_though_the_last_batch_is_not_full(plan_of, tmp_path, training):
    plan = plan_of(language_store(tmp_path, texts(50)), 4, 16, training=training)
    assert plan.steps_per_epoch > 4
    assert plan.share_counted() == 1


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
