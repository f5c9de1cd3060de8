"""The truth about a mixture is the plan of each task alone, and counting."""

import collections

import numpy as np
import pytest

from tests.trainers.data.made import Listed
from tests.trainers.data.test_batches import same, texts
from trainers.data import mixture, store, tasks
from trainers.data.batches import contiguous, windows
from trainers.data.example_batches import bucketed, packed
from trainers.data.simple_tokenizers import BytesTokenizer
from trainers.errors import UserError

SIZES = {"a": 30, "b": 70, "c": 200}


def task_of(name, count, kind="text_to_text"):
    """A task whose targets begin with its name and whose texts are all different."""
    records = [
        {"source": f"{text}{i}", "target": f"{name}{i}", "text": f"{name}{i} {text}"}
        for i, text in enumerate(texts(count, seed=len(name)))
    ]
    source = Listed(records, f"{name} {count}")
    return (
        tasks.text_to_text(source) if kind == "text_to_text" else tasks.language_modelling(source)
    )


def mixed(folder, plan_of, training=True, batch_size=6, length=64, kind="text_to_text", **settings):
    """The plan of a mixture of tasks of these SIZES."""
    mixed_task = mixture.mixture(
        {name: task_of(name, count, kind) for name, count in SIZES.items()}, **settings
    )
    return mixed_task.make_plan(
        "train", lambda task: plan_alone(folder, plan_of, task, training, batch_size, length)
    )


def plan_alone(folder, plan_of, task, training=True, batch_size=6, length=64):
    made = store.build_store(task, "train", BytesTokenizer(), str(folder))
    return plan_of(made, batch_size, length, seed=3, training=training)


def answers_in(batch):
    """The answers of a batch, in order."""
    real = batch["weights"] > 0
    text = bytes((batch["targets"][real] - 1).astype("uint8"))
    return text.split(b"\xff")[:-1]


def shares_of(plan, epochs=1):
    """{name: share of the examples} over epochs."""
    counts = collections.Counter()
    for step in range(epochs * plan.rows_per_epoch // plan.batch_size):
        counts.update(chr(answer[0]) for answer in answers_in(plan.batch(step)))
    return {name: count / counts.total() for name, count in counts.items()}


@pytest.mark.parametrize("plan_of", [packed, bucketed])
@pytest.mark.parametrize(
    "settings, rates",
    [
        ({}, SIZES),
        ({"most_examples": 50}, {"a": 30, "b": 50, "c": 50}),
        ({"temperature": 2.0}, {"a": 30**0.5, "b": 70**0.5, "c": 200**0.5}),
        ({"rates": {"a": 5, "b": 3, "c": 2}}, {"a": 5, "b": 3, "c": 2}),
    ],
)
def test_shares_of_the_examples_agree_with_the_rates(tmp_path, plan_of, settings, rates):
    plan = mixed(tmp_path, plan_of, batch_size=2, **settings)
    expected = {name: rate / sum(rates.values()) for name, rate in rates.items()}
    assert shares_of(plan, epochs=4) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("plan_of", [packed, bucketed])
def test_a_turn_of_a_task_is_its_next_row_or_batch_as_it_is_alone(tmp_path, plan_of):
    plan = mixed(tmp_path, plan_of, rates={"a": 5, "b": 1, "c": 1})
    alone = [plan_alone(tmp_path, plan_of, task_of(name, count)) for name, count in SIZES.items()]
    turns = np.arange(2 * plan.rows_per_epoch // plan.rows_together)
    assert np.bincount(plan.whose(turns)[0])[0] > 3 * alone[0].rows_per_epoch / plan.rows_together
    for turn, task, own in zip(turns, *plan.whose(turns), strict=True):
        together = np.arange(plan.rows_together)
        expected = alone[task].at(own * plan.rows_together + together)
        same(plan.at(turn * plan.rows_together + together), expected)


def test_a_proportional_epoch_reads_every_example_once(tmp_path):
    plan = mixed(tmp_path, packed, batch_size=1)
    for epoch in range(2):
        steps = range(epoch * plan.rows_per_epoch, (epoch + 1) * plan.rows_per_epoch)
        seen = [answer for step in steps for answer in answers_in(plan.batch(step))]
        assert sorted(seen) == sorted(
            f"{name}{i}".encode() for name, count in SIZES.items() for i in range(count)
        )
    assert plan.store.meta["examples"] == sum(SIZES.values())


def test_tasks_take_turns_in_an_order_of_their_own_in_every_epoch(tmp_path):
    plan = mixed(tmp_path, packed, batch_size=1)
    turns = np.arange(3 * plan.rows_per_epoch)
    task, own = plan.whose(turns)
    orders = np.split(task, 3)
    assert (orders[0] != orders[1]).any() and (orders[1] != orders[2]).any()
    for number in range(3):
        chosen = own[task == number]
        np.testing.assert_array_equal(np.sort(chosen), np.arange(len(chosen)))
    longest = max(len(run) for run in "".join(map(str, orders[0])).replace("2", " ").split())
    assert longest < plan.rows_per_epoch / 3  # they are mixed, not one after another


@pytest.mark.parametrize("plan_of", [packed, bucketed, windows])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_shards", [2, 3, 6])
def test_shards_put_together_are_the_global_batch(tmp_path, plan_of, training, num_shards):
    plan = mixed(tmp_path, plan_of, training, kind="language_modelling")
    again = mixed(tmp_path, plan_of, training, kind="language_modelling")
    for step in [1000, 5, 0, plan.steps_per_epoch - 1, plan.steps_per_epoch]:
        shards = [plan.batch(step, shard, num_shards) for shard in range(num_shards)]
        whole = {name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]}
        same(again.batch(step), whole)


def test_evaluation_reads_each_task_once_and_in_batches_of_its_own(tmp_path):
    for plan_of in (packed, bucketed):
        plan = mixed(tmp_path, plan_of, training=False)
        for name, (first, last) in plan.parts.items():
            seen = [
                answer for step in range(first, last) for answer in answers_in(plan.batch(step))
            ]
            assert sorted(seen) == sorted(f"{name}{i}".encode() for i in range(SIZES[name]))
        assert last == plan.steps_per_epoch
        assert not plan.batch(last)["weights"].any()
        parts = plan.store.meta["parts"].values()
        for count in ("target_tokens", "target_bytes", "examples"):
            assert plan.store.meta[count] == sum(meta[count] for meta in parts)


def test_counts_of_an_epoch_are_of_what_is_read_in_it(tmp_path):
    plan = mixed(tmp_path, packed, rates={"a": 8, "b": 1, "c": 1}, batch_size=1)
    tokens = sum(plan.batch(step)["weights"].sum() for step in range(plan.steps_per_epoch))
    assert plan.store.meta["target_tokens"] == pytest.approx(tokens, rel=0.05)


def test_a_task_of_the_smallest_rate_has_a_turn_in_every_epoch(tmp_path):
    plan = mixed(tmp_path, packed, rates={"a": 1e-9, "b": 1, "c": 1})
    assert plan.turns[0] == 1


def test_text_of_every_task_is_there_for_a_tokenizer_from_the_beginning():
    tasks_ = {name: task_of(name, count, "language_modelling") for name, count in SIZES.items()}
    firsts = [text[0] for text in mixture.mixture(tasks_).texts("train")]
    assert firsts[:6] == list("abcabc")
    assert collections.Counter(firsts) == SIZES


def test_a_mixture_says_of_itself_what_its_tasks_have_in_common():
    sentiment = tasks.text_to_text(Listed([]), "{a}", "{b}", ["no", "yes"], ["accuracy"])
    other = tasks.text_to_text(Listed([], "other"), "say: {a}", "{b}", ["no", "yes"], ["bleu"])
    both = mixture.mixture({"one": sentiment, "two": other})
    assert both.labels == ("no", "yes")
    assert both.prompt_affixes() == ("", "")
    assert both.kind == "text_to_text" and both.splits == ("train", "validation")
    alone = mixture.mixture({"two": other})
    assert alone.prompt_affixes() == ("say: ", "")


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"rates": {"a": 1, "b": 0}},
            "mixture.rates: b has the rate 0; rates are above 0, and a task that is not wanted is "
            "left out of mixture.tasks",
        ),
        (
            {"rates": {"a": 1, "b": "much"}},
            "mixture.rates: b has the rate 'much'; rates are above.*",
        ),
        ({"rates": {"a": 1}}, "mixture.rates: are for a, but the tasks are a, b"),
        ({"rates": {"a": 1, "b": 1}, "temperature": 2.0}, "mixture.rates are fixed, so that .*"),
        ({"most_examples": 0}, "mixture.most_examples = 0: must be at least 1"),
        ({"temperature": 0}, "mixture.temperature = 0: must be above 0"),
    ],
)
def test_rates_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(UserError, match=f"^{message}\n"):  # gin's line follows
        mixture.mixture({"a": task_of("a", 3), "b": task_of("b", 3)}, **settings)


def test_tasks_of_different_kinds_are_refused():
    with pytest.raises(UserError) as error:
        mixture.mixture({"a": task_of("a", 3), "b": task_of("b", 3, "language_modelling")})
    assert str(error.value).split("\n")[0] == (
        "mixture.tasks: a is text_to_text, b is language_modelling; all must be of one kind"
    )
    with pytest.raises(UserError, match="name at least one task"):
        mixture.mixture({})


@pytest.mark.parametrize("wrong", [tasks.text_to_text, mixture.mixture({"a": task_of("a", 3)})])
def test_what_is_no_task_is_named(wrong):
    with pytest.raises(UserError, match="mixture.tasks: b is no task, as @text_to_text"):
        mixture.mixture({"a": task_of("a", 3), "b": wrong})


def test_what_is_wrong_with_a_task_is_said_with_its_name(tmp_path):
    broken = tasks.text_to_text(Listed([{"source": "a"}], "broken"))
    empty = tasks.text_to_text(Listed([], "empty"))
    for task, message in (
        (empty, "task 'b' of the mixture: the train split of the data has no text in it"),
        (broken, "task 'b' of the mixture: listed:1: no field 'target'"),
    ):
        both = mixture.mixture({"a": task_of("a", 3), "b": task})
        with pytest.raises(UserError, match=message):
            both.make_plan("train", lambda task: plan_alone(tmp_path, packed, task))


def test_a_mixture_has_no_contiguous_rows(tmp_path):
    with pytest.raises(UserError, match="choose packed, bucketed or windows"):
        mixed(tmp_path, contiguous, kind="language_modelling")
