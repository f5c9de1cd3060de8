import json

import numpy as np
import pytest

from tests.trainers.data.made import Listed, preference_store
from trainers.data import mixture, store, tokenizers
from trainers.data.batches import windows
from trainers.data.example_batches import bucketed, packed
from trainers.data.pair_batches import pairs
from trainers.data.preferences import preferences
from trainers.data.simple_tokenizers import BytesTokenizer
from trainers.data.sources import jsonl_files
from trainers.errors import UserError

TRIPLES = [("hi", "good", "bad one"), ("bye", "ok", "no"), ("q", "yes sir", "x")]
CHATML = {"template": "chatml"}
ASKED = [
    {"role": "system", "content": "Be kind"},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hey"},
    {"role": "user", "content": "Bye"},
]


def says(text, role="assistant"):
    return [{"role": role, "content": text}]


def read(tokens):
    """A text of bytes' tokens, $ for <eos>."""
    return "".join("$" if token == 0 else chr(token - 1) for token in tokens)


def side_of(features, row, side, prefix=""):
    """(text, positions, text with weight) of one answer of a row."""
    tokens, segments = ("source", "source_segments") if prefix else ("targets", "segments")
    here = features[segments][row] == side
    weights = features["weights"][row] > 0
    learned = features["targets"][row][weights & (features["segments"][row] == side)]
    return read(features[tokens][row][here]), here, read(learned)


def test_a_row_has_the_chosen_answer_and_then_the_rejected_one(tmp_path):
    plan = pairs(preference_store(tmp_path, TRIPLES), 2, 16, training=False)
    assert (plan.rows_per_epoch, plan.steps_per_epoch) == (3, 2)
    first, second = plan.batch(0), plan.batch(1)
    for features, row, triple in (
        (first, 0, TRIPLES[0]),
        (first, 1, TRIPLES[1]),
        (second, 0, TRIPLES[2]),
    ):
        prompt, *answers = triple
        for side, answer in enumerate(answers, 1):
            text, here, learned = side_of(features, row, side)
            assert text == f"{prompt}${answer}$"
            assert learned == f"{answer}$"
            assert features["positions"][row][here].tolist() == list(range(here.sum()))
    assert not any(second[name][1].any() for name in second)  # nothing is left for the last row


def test_an_encoder_reads_the_prompt_of_each_answer(tmp_path):
    kept = preference_store(tmp_path, TRIPLES, reads_source=True)
    features = pairs(kept, 3, 16, source_length=8, training=False).batch(0)
    for row, (prompt, *answers) in enumerate(TRIPLES):
        for side, answer in enumerate(answers, 1):
            assert side_of(features, row, side, "source")[0] == f"{prompt}$"
            assert side_of(features, row, side)[0] == f"{answer}$"


def test_an_epoch_has_every_pair_once_beside_what_the_reference_says_of_it(tmp_path):
    triples = [(f"p{i}", f"c{i}", f"r{i}") for i in range(12)]
    plan = pairs(preference_store(tmp_path, triples), 4, 16, seed=3)
    plan.reference = np.arange(24, dtype="float32").reshape(12, 2)
    assert plan.feature_shapes["reference"] == ("float32", (2,))
    for epoch in range(2):
        seen = []
        for step in range(3 * epoch, 3 * epoch + 3):
            features = plan.batch(step)
            for row in range(4):
                number = int(side_of(features, row, 1)[2][1:-1])
                assert side_of(features, row, 2)[2] == f"r{number}$"
                assert features["reference"][row].tolist() == [2 * number, 2 * number + 1]
                seen.append(number)
        assert sorted(seen) == list(range(12)) != seen
    halves = [plan.batch(1, shard, 2) for shard in range(2)]
    for name, feature in plan.batch(1).items():
        np.testing.assert_array_equal(feature, np.concatenate([half[name] for half in halves]))


def test_a_prompt_that_is_too_long_loses_its_beginning_and_an_answer_its_end(tmp_path, caplog):
    kept = preference_store(tmp_path, [("0123456789", "abcdefghij", "xy"), ("p", "c", "r")])
    features = pairs(kept, 1, 8, training=False).batch(0)
    assert side_of(features, 0, 1)[0] == "789$abcd"
    assert side_of(features, 0, 2)[0] == "6789$xy$"
    assert "2 of 4 examples of the train split are longer than a row and were cut" in caplog.text


@pytest.mark.parametrize("whole", [False, True], ids=["prompt", "conversations"])
def test_conversations_are_written_by_the_template_and_their_last_answers_learned(tmp_path, whole):
    begun = ASKED if whole else []
    record = {"chosen": [*begun, *says("See you")], "rejected": [*begun, *says(" Go ")]}
    record |= {} if whole else {"prompt": ASKED}
    task = preferences(Listed([record, record]), prompt=None if whole else "prompt", **CHATML)
    tokenizer = tokenizers.train_tokenizer(
        "bytes", task.texts("train"), special_tokens=task.special_tokens
    )
    kept = store.build_store(task, "train", tokenizer, str(tmp_path))
    plan = pairs(kept, 2, 256, training=False)
    assert plan.rows_per_epoch == 2
    features = plan.batch(0)
    asked = task.chat.prompt(ASKED)
    for side, answer in ((1, "See you"), (2, "Go")):
        here = features["segments"][1] == side
        learned = here & (features["weights"][1] > 0)
        ids = features["targets"][1]
        expected = tokenizer.encode(f"{answer}<|im_end|>\n").tolist()
        assert ids[learned].tolist()[: len(expected)] == expected
        assert ids[here & ~learned].tolist() == tokenizer.encode(asked).tolist()


def test_an_encoder_reads_all_of_a_conversation_before_its_answer():
    record = {"prompt": ASKED, "chosen": says("See you"), "rejected": says("Go")}
    task = preferences(Listed([record]), template="plain").for_model(reads_source=True)
    chosen, rejected = task.examples("train")
    assert chosen["inputs"] == rejected["inputs"] == task.chat.prompt(ASKED)
    assert [chosen["targets"], rejected["targets"]] == [" See you\n", " Go\n"]
    assert (task.layout, task.pairs) == ("text_to_text", True)


GOOD = {"prompt": "a", "chosen": "b", "rejected": "c"}
TALK = {"prompt": says("a", "user"), "chosen": says("b"), "rejected": says("c")}


@pytest.mark.parametrize(
    "good, changes, settings, message",
    [
        (GOOD, {"rejected": "b"}, {}, "the chosen answer and the rejected one are the same"),
        (GOOD, {"chosen": " "}, {}, "chosen must be a text, and not empty"),
        (GOOD, {"prompt": 3}, {}, "prompt must be a text, and not empty"),
        (GOOD, {"prompt": None}, {"prompt": "question"}, "no field 'question'; the fields are"),
        (GOOD, TALK, {}, "prompt is a list of messages; CHAT_TEMPLATE says how"),
        (TALK, {"prompt": "a"}, CHATML, "prompt is a text, and CHAT_TEMPLATE is for lists"),
        (TALK, {"rejected": says("b ")}, CHATML, "the chosen answer and the rejected one are the"),
        (TALK, {"chosen": says("b", "user")}, CHATML, "must end with a message of the assistant"),
        (TALK, {"chosen": ASKED}, CHATML, "must be one message each; set PROMPT = None"),
        (
            TALK,
            {"chosen": says("")},
            CHATML,
            "message 1: its content must be a text, and not empty",
        ),
        (TALK, {"chosen": says("b", "me")}, CHATML, r"'me' is none .*; preferences.roles says"),
        (TALK, {"chosen": [{"content": "b"}]}, CHATML, "preferences.role and preferences.content"),
    ],
)
def test_a_pair_that_is_wrong_is_named_by_its_line(tmp_path, good, changes, settings, message):
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{json.dumps(good)}\n\n{json.dumps(good | changes)}\n")
    with pytest.raises(UserError) as error:
        list(preferences(jsonl_files(str(path)), **settings).examples("train"))
    # A field by another name is missing in the first line already.
    assert str(error.value).startswith(f"{path}:{1 if settings == {'prompt': 'question'} else 3}")
    assert error.match(message)
    assert "\n" not in str(error.value)


def test_whole_conversations_must_answer_the_same(tmp_path):
    record = {"chosen": [*ASKED, *says("b")], "rejected": [*ASKED[1:], *says("c")]}
    task = preferences(Listed([record]), prompt=None, **CHATML)
    with pytest.raises(UserError, match="^listed:1: chosen and rejected differ before their last"):
        list(task.examples("train"))


def test_texts_without_a_prompt_and_files_without_a_pair_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"^preferences.prompt = None: is for conversations"):
        preferences(Listed([]), prompt=None)
    path = tmp_path / "none.jsonl"
    path.write_text("\n\n")
    task = preferences(jsonl_files(str(path)))
    with pytest.raises(UserError, match=rf"^{path}: no record in it, for the train split$"):
        store.build_store(task, "train", BytesTokenizer(), str(tmp_path))


def test_other_batches_refuse_pairs_and_pairs_refuse_other_tasks(tmp_path):
    kept = preference_store(tmp_path, TRIPLES)
    for plan in (packed, bucketed, windows):
        with pytest.raises(
            UserError, match=r"has pairs of answers; set Experiment.batches = @pairs"
        ):
            plan(kept, 2, 8)
    with pytest.raises(UserError, match=r"^mixture.tasks: mine has pairs of answers"):
        mixture.mixture({"mine": preferences(Listed([]))})


def test_the_store_is_made_anew_when_fields_or_files_are_others():
    source = Listed([GOOD])
    swapped = preferences(source, chosen="rejected", rejected="chosen")
    others = [preferences(Listed([GOOD], "other")), swapped, preferences(source, **CHATML)]
    prints = {task.fingerprint("train") for task in [preferences(source), *others]}
    assert len(prints) == 4
