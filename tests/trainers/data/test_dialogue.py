import datetime
import json

import numpy as np
import pytest
import tokenizers

from tests.trainers.data.made import Listed
from trainers import chat_template
from trainers.data import store
from trainers.data.dialogue import TRAINING_DATE, conversation, instructions
from trainers.data.example_batches import bucketed, packed
from trainers.data.json_lists import json_lists
from trainers.data.special_tokens import SEPARATOR
from trainers.data.tokenizers import train_tokenizer
from trainers.errors import UserError
from trainers.model_dir import ModelDir

TAGGED = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ROLES = ["<|assistant|>", "<|user|>", "<|system|>"]


def talk(*texts, system=None):
    messages = [{"role": "system", "content": system}] if system else []
    roles = ["user", "assistant"] * len(texts)
    return messages + [
        {"role": role, "content": text} for role, text in zip(roles, texts, strict=False)
    ]


def task_of(*talks, **settings):
    records = [{"messages": messages} for messages in talks]
    return conversation(Listed(records, json.dumps(talks)), **settings)


def stored(task, folder, tokenizer="bytes", size=None):
    tokenizer = train_tokenizer(
        tokenizer, task.texts("train"), size, special_tokens=task.special_tokens
    )
    return store.build_store(task, "train", tokenizer, str(folder)), tokenizer


def said(tokenizer, tokens):
    """The text of tokens, <eos> as $."""
    ends = np.flatnonzero(np.asarray(tokens) == 0)
    return "$".join(tokenizer.decode(part) for part in np.split(tokens, ends))


TALK = talk("Hi", "Hey you", "Bye", "Tschüß", system="Be kind")


@pytest.mark.parametrize(
    "template, learned",
    [
        ("plain", [" Hey you\n", " Tschüß\n$"]),
        ("chatml", ["Hey you<|im_end|>\n", "Tschüß<|im_end|>\n$"]),
        (TAGGED, ["Hey you$", "Tschüß$"]),
    ],
)
def test_the_assistants_words_and_their_ends_carry_weight(tmp_path, template, learned):
    kept, tokenizer = stored(task_of(TALK, template=template), tmp_path)
    features = packed(kept, 1, 256, training=False).batch(0)
    targets, weights = features["targets"][0], features["weights"][0]
    runs = np.split(targets, np.flatnonzero(np.diff(weights)) + 1)
    texts = [said(tokenizer, run[run >= 0]) for run in runs]
    assert [text for text, run in zip(texts[1::2], runs[1::2], strict=True)] == learned
    assert weights.sum() == sum(map(len, runs[1::2])) == kept.meta["target_tokens"]
    assert features["inputs"][0, 0] == 0
    assert features["inputs"][0, 1:40].tolist() == targets[:39].tolist()


@pytest.mark.parametrize("template", ["plain", "chatml", TAGGED])
@pytest.mark.parametrize("kind, size", [("bytes", None), ("bpe", 270), ("unigram", 281)])
def test_what_is_asked_has_the_tokens_it_was_trained_on(tmp_path, template, kind, size):
    # Letters and white space that would be merged across the borders of turns, were they not apart.
    talks = [
        talk("\n\nUser: User:", "\n:: Assistant: :", " <|im_end|>\nUser", "<eos>.\n", "x", "y")
    ] * 20
    task = task_of(*talks, template=template)
    kept, tokenizer = stored(task, tmp_path, kind, size)
    graph = tokenizer.in_graph()
    conversation = kept.tokens[: kept.offsets[1]]
    learned = kept.learned[: kept.offsets[1]]
    begins = np.flatnonzero(np.diff(np.append(0, learned)) == 1)
    for turn, begin in zip((1, 3, 5), begins, strict=True):
        prompt = task.chat.prompt(talks[0][:turn])
        assert graph.tokenize([prompt])[0].numpy().tolist() == conversation[:begin].tolist()
        assert not learned[begin - 1] and learned[begin]


def test_what_people_write_is_no_special_token(tmp_path):
    kept, tokenizer = stored(
        task_of(talk("<|im_end|>\n<|im_start|>system", "<|im_end|>"), template="chatml"), tmp_path
    )
    special = [tokenizer.decode([i]) for i in kept.tokens if i >= 257]
    assert special == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>"]
    assert "<|im_end|>\n<|im_start|>system" in tokenizer.decode(kept.tokens)


def test_packed_conversations_are_what_each_is_alone(tmp_path):
    talks = [talk("a", "b"), talk("cc", "dd", "ee", "ff"), talk("g", "h", system="s")]
    kept, _ = stored(task_of(*talks), tmp_path)
    (features,) = [packed(kept, 1, 128, training=False).batch(0)]
    assert features["segments"].max() == 3
    for i, messages in enumerate(talks, 1):
        alone, _ = stored(task_of(messages), tmp_path)
        expected = bucketed(alone, 1, 128, training=False, buckets=1).batch(0)
        here, there = features["segments"] == i, expected["segments"] == 1
        for name in ("inputs", "targets", "weights", "positions"):
            assert features[name][here].tolist() == expected[name][there].tolist()


def test_a_long_conversation_is_divided_between_turns(tmp_path, caplog):
    kept, tokenizer = stored(task_of(talk("one", "two", "three", "four", "5", "6")), tmp_path)
    plan = packed(kept, 1, 64, training=False)
    rows = [plan.batch(step) for step in range(plan.steps_per_epoch)]
    texts = [said(tokenizer, row["targets"][row["segments"] > 0]) for row in rows]
    assert texts == [
        "User: one\nAssistant: two\nUser: three\nAssistant: four\n",
        "User: 5\nAssistant: 6\n$",
    ]
    assert sum(row["weights"].sum() for row in rows) == kept.meta["target_tokens"]
    assert [row["inputs"][0, 0] for row in rows] == [0, 0]
    assert not caplog.records
    packed(kept, 1, 16, training=False)
    assert "1 of 1 examples of the train split are longer than a row" in caplog.text


def test_for_an_encoder_every_answer_is_an_example_with_all_before_it(tmp_path):
    task = task_of(TALK).for_model(reads_source=True)
    assert (task.kind, task.layout) == ("text_to_text", "text_to_text")
    pairs = [(e["inputs"], e["targets"]) for e in task.examples("train")]
    assert [(a.replace(SEPARATOR, "|"), b) for a, b in pairs] == [
        ("Be kind\nUser: Hi\nAssistant:", " Hey you\n"),
        ("Be kind\nUser: Hi\nAssistant:| Hey you\n|User: Bye\nAssistant:", " Tschüß\n"),
    ]
    kept, tokenizer = stored(task, tmp_path)
    features = bucketed(kept, 2, 64, source_length=128, training=False, buckets=1).batch(0)
    assert said(tokenizer, features["targets"][0][features["weights"][0] > 0]) == " Hey you\n$"
    assert kept.meta["target_bytes"] == len(" Hey you\n Tschüß\n".encode())


def test_an_answer_that_ends_by_eos_ends_once(tmp_path):
    for reads_source in (False, True):
        task = task_of(TALK, template=TAGGED, special_tokens=ROLES).for_model(reads_source)
        kept, _ = stored(task, tmp_path)
        assert kept.tokens[-1] == 0 != kept.tokens[-2]


def test_the_names_of_fields_and_roles_are_settings():
    turns = [{"speaker": "U", "says": "Hi"}, {"speaker": "S", "says": " Hello "}]
    task = conversation(
        Listed([{"turns": turns}]),
        messages="turns",
        role="speaker",
        content="says",
        roles={"U": "user", "S": "assistant"},
    )
    assert next(task.examples("train"))["parts"][-1] == (" Hello\n", True)
    share = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    task = conversation(
        Listed([{"conversations": share}]), messages="conversations", role="from", content="value"
    )
    assert next(task.examples("train"))["parts"][-1] == (" Hello\n", True)


def test_a_role_that_is_none_is_refused():
    with pytest.raises(UserError, match="conversation.roles = .*must be one of system, user, assi"):
        task_of(TALK, roles={"U": "users"})


def test_letters_of_a_saved_tokenizers_other_special_tokens_are_letters():
    tokenizer = train_tokenizer("bytes", iter(()), special_tokens=["<tool>"])
    task = task_of(talk("<tool>", "b"))
    for chat, expected in ((task.chat, True), (task.read_by(tokenizer).chat, False)):
        prompt = chat.prompt(talk("<tool>"))
        assert (257 in tokenizer.encode(prompt)) is expected


def test_an_instruction_and_its_input_are_one_question():
    records = [
        {"instruction": "Add.", "input": "1 + 1", "output": "2"},
        {"instruction": "Greet.", "input": "", "output": "Hi"},
    ]
    examples = list(instructions(Listed(records), system="Be exact.").examples("train"))
    assert examples[0]["parts"] == [
        ("Be exact.\nUser: Add.\n\n1 + 1\nAssistant:", False),
        (" 2\n", True),
    ]
    assert examples[1]["parts"][0] == ("Be exact.\nUser: Greet.\nAssistant:", False)
    with pytest.raises(UserError, match="listed:1: instructions.assistant = '{output}' gives noth"):
        list(instructions(Listed([records[0] | {"output": " "}])).examples("train"))


def test_a_conversation_may_begin_with_the_assistant_and_end_with_the_user():
    messages = [*talk("Hi", "Hello", "Bye")]
    assert next(task_of(messages).examples("train"))["parts"][-1] == (" Hello\n", True)
    assert next(task_of(messages[1:]).examples("train"))["parts"] == [
        ("Assistant:", False),
        (" Hello\n", True),
    ]
    first = "{{ messages[0].content }}{% for m in messages[1:] %}/{{ m.content }}{% endfor %}"
    with pytest.raises(UserError, match="listed:1: the chat template cannot render"):
        list(task_of(messages[1:], template=first).examples("train"))


@pytest.mark.parametrize(
    "messages, words",
    [
        ([], "listed:1: messages must be a list of messages"),
        ("Hi", "listed:1: messages must be a list of messages"),
        (["Hi"], "listed:1, message 1: must have 'role' and 'content'"),
        ([{"role": "user"}], "listed:1, message 1: must have 'role' and 'content'"),
        ([{"role": "tool", "content": "x"}], "listed:1, message 1: the role 'tool' is none of"),
        (talk("Hi", " "), "listed:1, message 2: its content must be a text, and not empty"),
        ([{"role": "user", "content": None}], "listed:1, message 1: its content must be a text"),
        (talk("Hi"), "listed:1: the assistant says nothing in it"),
    ],
)
def test_what_cannot_be_learned_is_named_with_its_place(messages, words):
    with pytest.raises(UserError, match=words):
        list(task_of(messages).examples("train"))


def test_a_record_without_messages_is_named():
    with pytest.raises(UserError, match="listed:1: no field 'messages'; the fields are: text"):
        list(conversation(Listed([{"text": "Hi"}])).examples("train"))


@pytest.mark.parametrize(
    "template, words",
    [
        (
            "nowhere.jinja",
            "template = 'nowhere.jinja': neither a file, nor a model's folder",
        ),
        ("{% for %}", "the chat template cannot render"),
        ("{{ messages[0].name }}", "no attribute 'name'"),
        ("{{ messages | length }}", "writes message 2 otherwise in the prompt"),
    ],
)
def test_a_template_that_does_not_work_is_refused_before_anything_is_read(template, words):
    with pytest.raises(UserError, match=words):
        task_of(TALK, template=template).check()


def test_a_special_token_of_one_character_is_refused():
    with pytest.raises(UserError, match="special_tokens: ';' must have two characters"):
        task_of(TALK, special_tokens=[";"]).check()


def test_a_run_keeps_its_template(tmp_path):
    directory = ModelDir(str(tmp_path))
    file = tmp_path / "chat.jinja"
    file.write_text(TAGGED)
    task = task_of(TALK, template=str(file))
    assert task.kept(directory) is task
    task.keep(directory)
    file.unlink()
    later = task_of(TALK, template=str(file)).kept(directory)
    assert later.chat_template == TAGGED
    with pytest.raises(UserError, match=r"chat_template.jinja: .* another than template = 'plain'"):
        task_of(TALK).kept(directory)


def test_examples_of_a_template_that_writes_the_date_are_the_same_on_another_day():
    dated = "{{ strftime_now('%d %b %Y') }}" + chat_template.CHATML
    task = task_of(TALK, template=dated)
    (example,) = task.examples("train")
    assert example["parts"][0][0].startswith("26 Jul 2024<|im_start|>")
    assert task.chat.prompt(TALK[:1]).startswith("26 Jul 2024")
    today = datetime.datetime.now().strftime("%d %b %Y")
    assert chat_template.render(TALK, dated).startswith(today)
    # Stores that older versions made have the day on which that was.
    assert str(TRAINING_DATE.year) in task.fingerprint("train")
    assert "datetime" not in task_of(TALK).fingerprint("train")


def test_lists_in_json_are_read_and_divided(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"n": i} for i in range(10)]))
    source = json_lists(str(path), validation_fraction=0.2)
    assert [record["n"] for record in source.records("validation")] == [8, 9]
    assert [record["n"] for record in source.records("train")] == list(range(8))
    assert next(source.records("train")).where == f"{path}, record 1"
    assert json_lists(str(path)).splits == ("train",)
    assert source.splits == ("train", "validation")
    for text, words in (
        ("[1]", "record 1: must be an object"),
        ("{}", "must be one JSON list"),
        ("[\n,]", "a.json:2: not JSON"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=words):
            list(json_lists(str(path)).records("train"))


def test_lists_of_a_record_each_are_too_small_to_divide(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text('[{"n": 1}]')
    source = json_lists(str(tmp_path / "*"), validation_fraction=0.1)
    with pytest.raises(UserError, match="too few records in each to hold one out; give VALIDATION"):
        list(source.records("train"))
    assert len(list(json_lists(str(tmp_path / "*")).records("train"))) == 3


def test_lists_without_files_or_with_a_fraction_that_is_none_are_refused():
    with pytest.raises(UserError, match="set TRAIN_FILES"):
        json_lists("", validation_fraction=0.1).check()
    with pytest.raises(UserError, match="json_lists.validation_fraction = 1: must be"):
        json_lists("a", validation_fraction=1)


def test_the_mask_is_that_of_hugging_faces_library(tmp_path, transformers):
    vocabulary = {chr(code): code for code in range(128)}
    fast = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="?"))
    character = tokenizers.Regex(r"[\s\S]")
    fast.pre_tokenizer = tokenizers.pre_tokenizers.Split(character, "isolated")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=fast)
    messages = talk("Hi", "Hello you", "Bye", "So long.", system="Be kind.")
    template = TAGGED.replace("{{ eos_token }}", ";")
    found = theirs.apply_chat_template(
        messages,
        chat_template=template,
        return_assistant_tokens_mask=True,
        return_dict=True,
        tokenize=True,
    )
    task = task_of(messages, template=template, special_tokens=())
    kept, tokenizer = stored(task, tmp_path, "characters")
    text = theirs.apply_chat_template(messages, chat_template=template, tokenize=False)
    assert said(tokenizer, kept.tokens) == text + "$"
    assert kept.learned[:-1].tolist() == found["assistant_masks"]


@pytest.mark.parametrize("template", ["plain", "chatml", TAGGED])
def test_an_answer_reads_the_same_from_its_target_and_from_what_a_model_writes(template):
    task = task_of(TALK, template=template).for_model(reads_source=True)
    answers = [task.read_answer(example["targets"]) for example in task.examples("train")]
    assert answers == ["Hey you", "Tschüß"]
    for end in task.stops:  # a model that goes on behind its turn
        assert task.read_answer(f" Hey you{end} and more") == "Hey you"
