"""The truth about plans of examples is the examples, laid out one by one in Python."""

import collections
import logging

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
from trainers.data.example_batches import auto, bucketed, check_fits, packed
from trainers.errors import UserError
from zoo import LSTMLM, DecoderLM, PretrainedLM


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


@pytest.mark.parametrize("plan_of", [packed, bucketed])
def test_the_share_that_counts_is_about_that_of_an_epoch(tmp_path, plan_of):
    store = pair_store(tmp_path, pairs(200))
    plan = plan_of(store, 4, 80, training=False)
    weights = [np.mean(batch["weights"] != 0) for batch in epoch_of(plan)]
    assert plan.share_counted() == pytest.approx(np.mean(weights[:-1]), rel=0.3)
    assert plan_of(store, 4, 80, input_weight=0.1).share_counted() > 1.5 * plan.share_counted()


def test_what_has_no_inputs_to_predict_is_refused(tmp_path):
    with pytest.raises(UserError, match="an encoder's inputs are not predicted; set it to 0"):
        packed(pair_store(tmp_path, pairs(9)), 4, 80, source_length=80, input_weight=0.5)
    with pytest.raises(UserError, match="only a text-to-text task has inputs"):
        packed(language_store(tmp_path, texts(9)), 4, 80, input_weight=0.5)


def test_packed_rows_are_well_filled(tmp_path):
    plan = packed(language_store(tmp_path, texts(300)), 8, 128, training=False)
    filled = np.concatenate([batch["segments"] > 0 for batch in epoch_of(plan)[:-1]])
    assert filled.mean() > 0.85


def test_each_training_epoch_covers_each_packed_row_once_in_its_own_order(tmp_path):
    store = language_store(tmp_path, texts(100))
    in_order = [
        row["targets"].tobytes() for row in rows_of_epoch(packed(store, 4, 16, training=False), 0)
    ]
    plan = packed(store, 4, 16, seed=5)
    orders = [[row["targets"].tobytes() for row in rows_of_epoch(plan, e)] for e in range(2)]
    assert orders[0] != orders[1] != in_order
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(in_order)


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
        check_fits(plan, "text_to_text", alone)
    check_fits(plan, "text_to_text", LSTMLM.__new__(LSTMLM))
    check_fits(windows, "language_modelling", alone)
    check_fits(bucketed, "text_to_text", alone)


def test_rows_that_go_on_are_refused_for_models_that_carry_no_state():
    with pytest.raises(UserError, match="@contiguous: .* DecoderLM carries no state .* @windows"):
        check_fits(contiguous, "language_modelling", DecoderLM(9, 1, 8, 2))
    check_fits(contiguous, "language_modelling", LSTMLM(9, 1, 8))
