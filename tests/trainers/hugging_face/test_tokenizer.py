"""Tokenizers written for Transformers and read again. Truth: the tokenizer that was written."""

import json

import numpy as np
import pytest

from tests.trainers.data.byte_pairs import varied
from trainers.chat_template import TEMPLATES
from trainers.data import tokenizers
from trainers.data.dialogue import conversation
from trainers.data.special_tokens import with_special_tokens
from trainers.hugging_face import folder, tokenizer

TEXTS = varied(300)


@pytest.fixture(scope="module", params=["bytes", "bpe"])
def learned(request):
    texts = iter(TEXTS)
    return tokenizers.train_tokenizer(request.param, texts, vocabulary_size=400)


def write(learned, path):
    assert tokenizer.write(learned, str(path))
    config = {"model_type": "llama", "vocab_size": learned.vocabulary_size, "eos_token_id": 0}
    (path / "config.json").write_text(json.dumps(config))


def test_a_tokenizer_that_was_learned_here_comes_back(tmp_path, learned):
    write(learned, tmp_path)
    again = tokenizer.load(str(tmp_path))
    assert again.begins_texts
    assert tokenizer.begin_token(str(tmp_path), {"eos_token_id": 0}) == 0
    for one, other in zip(learned.encode_batch(TEXTS), again.encode_batch(TEXTS), strict=True):
        np.testing.assert_array_equal(one, other)
    graph = again.in_graph()
    assert graph.tokenize(TEXTS).to_list() == [ids.tolist() for ids in learned.encode_batch(TEXTS)]


def test_special_tokens_keep_their_ids(tmp_path, learned):
    special = with_special_tokens(learned, ["<|user|>", "<eos>", "<|assistant|>"])
    write(special, tmp_path)
    again = tokenizer.load(str(tmp_path))
    assert again.special_ids == {i: special.ids[i] for i in special.ids}
    talking = tokenizer.with_tokens_of(again, "{{ '<|user|>' }}")
    text = "<|user|>hello<|assistant|>"
    assert talking.special_tokens == ("<|user|>",)
    assert talking.encode(text)[0] == special.ids["<|user|>"]


def test_transformers_reads_it(tmp_path, learned, transformers):
    write(learned, tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(str(tmp_path))
    for text in TEXTS:
        ids = theirs(text)["input_ids"]
        assert ids == [0, *learned.encode(text)]
        assert theirs.decode(ids, True, clean_up_tokenization_spaces=False) == text


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
]
WITH_END = "{% for m in messages %}{{ m.role + m.content + eos_token }}{% endfor %}"


@pytest.mark.parametrize("template", [*TEMPLATES.values(), WITH_END], ids=[*TEMPLATES, "end"])
def test_transformers_write_conversations_as_they_were_learned(
    tmp_path, learned, template, transformers
):
    task = conversation(None, template=template)
    special = with_special_tokens(learned, task.special_tokens)
    write(special, tmp_path)
    tokenizer.write_template(task.chat_template, str(tmp_path), begins=True)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    for talk in (TALK[:2], TALK):
        parts = task.chat.prompt_parts(talk)
        ours = np.concatenate([special.encode(text) for text, _ in parts]).tolist()
        found = theirs.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
        assert found == [0, *ours]
    assert folder.chat_template(str(tmp_path)) == "{{ bos_token }}" + template


def test_a_template_that_begins_texts_itself_stays_as_it_is(tmp_path, learned):
    write(learned, tmp_path)
    for template, begins in (("{{ bos_token }}", True), ("<eos>", True), ("{{ 1 }}\r\n", False)):
        tokenizer.write_template(template, str(tmp_path), begins)
        assert folder.chat_template(str(tmp_path)) == template


def test_other_tokenizers_are_not_written(tmp_path):
    words = tokenizers.train_tokenizer("words", iter(["a b"]))
    assert not tokenizer.write(words, str(tmp_path))
    assert not list(tmp_path.iterdir())
