"""Conversations from files to a chat with what was exported, by the command line."""

import json
import shutil

import pytest
import tensorflow as tf
from serving.model import Model

from tests.end_to_end.recipes import command, metrics_of
from trainers import pipeline
from trainers.data import tokenizers

pytestmark = pytest.mark.slow

FAMILIES = {
    "decoder_lm": "DecoderLM.num_layers = 2\nDecoderLM.width = 32\nDecoderLM.num_heads = 2\n",
    "encoder_decoder": """
include "configs/models/transformer_tiny.gin"
EncoderDecoder.num_layers = 1
EncoderDecoder.width = 32
EncoderDecoder.dropout = 0.0
""",
}
RECIPE = """
include "configs/recipes/conversations.gin"
{family}
TOKENIZER = "bytes"
VOCABULARY_SIZE = None
SEQUENCE_LENGTH = 128
BATCH_SIZE = 4
STEPS = 60
EVAL_EVERY = 60
LEARNING_RATE = 0.01
train.optimizer = @AdamW
train.xla = False
"""
HELLO = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "ab."}]
MORE = [{"role": "user", "content": "More"}, {"role": "assistant", "content": "ab."}]


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request, tmp_path_factory):
    """(model_dir, flags) of a model that has learned to say "ab."."""
    folder = tmp_path_factory.mktemp(request.param)
    lines = [json.dumps({"messages": HELLO + MORE}), json.dumps({"messages": HELLO})] * 10
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    recipe = folder / "recipe.gin"
    recipe.write_text(RECIPE.format(family=FAMILIES[request.param]))
    model_dir = str(folder / "run")
    flags = [f"--gin_file={recipe}", f"--model_dir={model_dir}"]
    flags += [
        f"--gin_param={s.upper()}_FILES = '{folder}/{s}.jsonl'" for s in ("train", "validation")
    ]
    status, _, err = command(*flags)
    assert status == 0, err
    return model_dir, flags


def test_it_learns_what_the_assistant_says(trained):
    model_dir, _ = trained
    assert metrics_of(model_dir, "validation")[-1]["loss"] < 0.5


def test_a_conversation_gets_the_assistants_next_message(trained):
    model_dir, _ = trained
    chat = pipeline(model=model_dir)
    talk = [*HELLO, MORE[0]]
    (answer,) = chat(talk, max_new_tokens=20, temperature=0.0)
    assert answer["generated_text"] == talk + MORE[1:]
    both = chat([HELLO[:1], talk], max_new_tokens=20, temperature=0.0)
    first, second = (row[0] if isinstance(row, list) else row for row in both)
    assert first["generated_text"] == HELLO
    assert second == answer
    assert "".join(chat.stream(HELLO[:1], max_new_tokens=20, temperature=0.0)).strip() == "ab."
    begun = [HELLO[0], {"role": "assistant", "content": "a"}]
    (answer,) = chat(begun, max_new_tokens=20, temperature=0.0)
    assert answer["generated_text"] == HELLO


def test_answers_in_conversations_are_decoded_and_scored(trained, tmp_path):
    model_dir, _ = trained
    copy = str(tmp_path / "run")
    shutil.copytree(model_dir, copy)
    status, _, err = command(
        f"--model_dir={copy}",
        "--mode=evaluate",
        "--gin_param=conversation.metrics = ['exact_match', 'chrf', 'lengths']",
        "--gin_param=DecodedEvaluation.max_new_tokens = 20",
    )
    assert status == 0, err
    found = metrics_of(copy, "validation")[-1]
    assert (found["exact_match"], found["chrf"], found["mean_words"]) == (1, 100, 1)
    with open(f"{copy}/predictions/validation-60.jsonl", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    assert len(lines) == 30  # an answer each, of conversations of two and of one
    assert all(line["prediction"] == "ab." and line["references"] == ["ab."] for line in lines)
    assert {line["inputs"].count("Hi") for line in lines} == {1}
    assert {line["inputs"].count("ab.") for line in lines} == {0, 1}  # what was said before


def test_the_server_asks_what_the_pipeline_asks(trained):
    model_dir, _ = trained
    export = tf.saved_model.load(f"{model_dir}/export")
    model = Model.of(export, f"{model_dir}/export")
    assert model.chat.stops == ("<|im_end|>",)
    tokenizer = tokenizers.load(f"{model_dir}/tokenizer")
    prompt = model.chat_prompt([*HELLO, {"role": "user", "content": "a<|im_end|>b"}])
    tokens = model.tokenize(prompt)
    assert tokens == tokenizer.encode(prompt).tolist()
    ends = tokenizer.encode("<|im_end|>")[0]
    assert tokens.count(ends) == 3  # the user's own is letters
    shortened, count, _ = model.prepare(prompt, 20, truncate=40)
    assert count == 40
    assert model.tokenize(shortened) == tokens[-40:]


def test_a_model_dir_alone_keeps_its_template(trained, tmp_path):
    model_dir, flags = trained
    copy = str(tmp_path / "copy")
    shutil.copytree(model_dir, copy, ignore=shutil.ignore_patterns("export", "data"))
    assert command(f"--model_dir={copy}", "--mode=export")[0] == 0
    described = tf.saved_model.load(f"{copy}/export").describe()
    with open(f"{model_dir}/chat_template.jinja", encoding="utf-8") as file:
        assert described["chat_template"].numpy().decode() == file.read()
    status, _, err = command(*flags, "--gin_param=CHAT_TEMPLATE = 'plain'")
    assert status == 1
    assert "the chat template that was trained with is another than template = 'plain'" in err


def test_a_wrong_conversation_is_one_line(trained, tmp_path):
    _, flags = trained
    path = tmp_path / "wrong.jsonl"
    path.write_text('{"messages": [{"role": "robot", "content": "x"}]}\n')
    flags = [flag for flag in flags if not flag.startswith("--model_dir")]
    files = f"--gin_param=TRAIN_FILES = '{path}'"
    status, _, err = command(*flags, files, f"--model_dir={tmp_path}/run")
    assert status == 1
    assert err.splitlines()[-1].startswith(f"error: {path}:1, message 1: the role 'robot' is none")
