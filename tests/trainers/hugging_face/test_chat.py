"""Conversations of a model that is there already, by its own chat template."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer

from tests.trainers.hugging_face.checkpoints import make_checkpoint
from tests.trainers.hugging_face.runs import NO_EXPORT, run
from trainers.chat_template import TEMPLATES
from trainers.data.dialogue import conversation
from trainers.data.tokenizers import train_tokenizer
from trainers.errors import UserError
from trainers.hugging_face.load import load_model

# As Qwen's: what ends a turn is what ends a text.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|endoftext|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TALK = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    make_checkpoint(folder, "gpt2", "gpt2")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": TEMPLATE}))
    return folder


def test_turns_have_the_tokens_of_the_checkpoint(source):
    task = conversation(None, template=str(source))
    assert set(task.special_tokens) == {"<|im_start|>", "<|endoftext|>"}
    reader = train_tokenizer(str(source), iter([]), special_tokens=task.special_tokens)
    assert reader.vocabulary_size == reader.plain.vocabulary_size  # it knows them all

    def ids_of(talk):
        return np.concatenate([reader.encode(text) for text, _ in task.chat.parts(talk)])

    # Truth: the library's tokenizer on what the template writes.
    theirs = Tokenizer.from_file(str(source / "tokenizer.json"))
    written = "<|im_start|>user\nHello<|endoftext|>\n<|im_start|>assistant\nHi<|endoftext|>\n"
    expected = reader.plain.swapped(theirs.encode(written, add_special_tokens=False).ids)
    found = ids_of(TALK)
    np.testing.assert_array_equal(found, expected)
    assert list(found).count(0) == 2
    # What people say makes no special token.
    begin = reader.ids["<|im_start|>"]
    forged = ids_of([{**TALK[0], "content": "<|im_start|>"}, TALK[1]])
    assert list(forged).count(begin) == list(found).count(begin) == 2


def test_a_model_without_a_template_says_which_there_are(tmp_path):
    make_checkpoint(tmp_path, "gpt2", "gpt2")
    with pytest.raises(UserError, match="that model has no chat template; choose one of 'plain'"):
        conversation(None, template=str(tmp_path)).chat_template  # noqa: B018, which reads it


@pytest.mark.slow
def test_a_template_goes_there_and_back(source, tmp_path):
    for one, other in ((source, tmp_path / "run"), (tmp_path / "run", tmp_path / "back")):
        done = run("scripts/convert.py", one, other)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "back" / "chat_template.jinja").read_text() == TEMPLATE


@pytest.mark.slow
@pytest.mark.parametrize("template, more", [(None, 0), ("chatml", 1)])
def test_fine_tuning_keeps_the_template_and_adds_the_tokens_that_there_are_not(
    source, tmp_path, template, more
):
    (tmp_path / "talk.jsonl").write_text(json.dumps({"messages": TALK}) + "\n")
    flags = [
        "--gin_file=configs/recipes/finetune_chat.gin",
        f"--model_dir={tmp_path / 'run'}",
        f'--gin_param=INIT = "{source}"',
        f'--gin_param=TRAIN_FILES = "{tmp_path / "talk.jsonl"}"',
        "--gin_param=SEQUENCE_LENGTH = 64",
        "--gin_param=BATCH_SIZE = 2",
        "--gin_param=EVAL_EVERY = 2",
        "--gin_param=LEARNING_RATE = 0.0",
        "--gin_param=STEPS = 2",
        "--gin_param=train.callbacks = []",
        NO_EXPORT,
    ]
    if template:
        flags.append(f'--gin_param=CHAT_TEMPLATE = "{template}"')
    done = run("-m trainers.run", *flags)
    assert done.returncode == 0, done.stderr
    if not template:
        assert (tmp_path / "run" / "chat_template.jinja").read_text() == TEMPLATE
    reader = tf.train.load_checkpoint(str(tmp_path / "run" / "checkpoints" / "step_2" / "state"))
    table = reader.get_tensor("model/embedding.Sembedding/.ATTRIBUTES/VARIABLE_VALUE")
    before = np.array(load_model(str(source)).embedding.table)
    np.testing.assert_array_equal(table[: len(before)], before)
    assert len(table) == len(before) + more  # <|im_end|>
    for row in table[len(before) :]:
        np.testing.assert_allclose(row, before.mean(axis=0), atol=1e-6)
    # What it was trained with goes to Transformers.
    done = run("scripts/convert.py", tmp_path / "run", tmp_path / "back")
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "back" / "chat_template.jinja").read_text()
    assert written == (TEMPLATES[template] if template else TEMPLATE)
    # The run is what another may begin from, whose tokens it has.
    again = [f for f in flags if "INIT" not in f and "--model_dir" not in f]
    again += [f'--gin_param=INIT = "{tmp_path / "run"}"', f"--model_dir={tmp_path / 'again'}"]
    done = run("-m trainers.run", *again)
    assert done.returncode == 0, done.stderr
    assert "begins at step 0 with the weights of" in done.stdout
