"""Answers of the routes, over an export that says its prompt again and again."""

import time

import pytest

from tests.scripts.serving.asking import GREEDY, chat, chunks, complete
from tests.scripts.serving.parrot import Parrot


def test_a_completion_has_openais_shape(client):
    answer = complete(client, max_tokens=5)
    assert answer.pop("id").startswith("cmpl-")
    assert abs(answer.pop("created") - time.time()) < 60
    assert answer == {
        "object": "text_completion",
        "model": "parrot",
        "system_fingerprint": None,
        "choices": [{"index": 0, "text": "abcab", "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }


def test_a_chat_completion_has_openais_shape(client):
    answer = chat(client, "hi", max_tokens=5)
    assert answer.pop("id").startswith("chatcmpl-")
    answer.pop("created")
    prompt = "User: hi\nAssistant:"
    message = {"role": "assistant", "content": prompt[:5], "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    assert answer == {
        "object": "chat.completion",
        "model": "parrot",
        "system_fingerprint": None,
        "choices": [choice],
        "usage": {"prompt_tokens": 19, "completion_tokens": 5, "total_tokens": 24},
    }


def test_defaults_are_openais(client):
    complete(client, temperature=None)
    start = client.parrot.starts[-1]
    assert (start["max_new_tokens"], start["temperature"], start["top_p"]) == ([16], [1.0], [1.0])
    chat(client, "hi")
    assert client.parrot.starts[-1]["max_new_tokens"] == [64 - len("User: hi\nAssistant:")]


def test_settings_reach_the_export(client):
    settings = {
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.5,
        "min_p": 0.25,
        "repetition_penalty": 1.5,
        "presence_penalty": -0.5,
        "frequency_penalty": 2.0,
        "seed": 2**31 + 5,
    }
    complete(client, **settings)
    start = client.parrot.starts[-1]
    assert {name: start[name] for name in settings} == {
        name: [value] for name, value in {**settings, "seed": 5}.items()
    }


def test_top_p_of_0_is_greedy(client):
    assert complete(client, temperature=1.5, top_p=0, max_tokens=3)["choices"][0]["text"] == "abc"


def test_without_a_seed_texts_differ_and_with_one_they_do_not(client):
    texts = [complete(client, temperature=1)["choices"][0]["text"] for _ in range(2)]
    assert texts[0] != texts[1]
    texts = [complete(client, temperature=1, seed=3)["choices"][0]["text"] for _ in range(2)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "prompt, texts",
    [
        ("ab", ["ab"]),
        (["ab", "cd"], ["ab", "cd"]),
        ([98, 99], ["ab"]),
        ([[98, 99], [100, 101]], ["ab", "cd"]),
        ("", [".."]),
    ],
)
def test_prompts_are_texts_or_tokens_one_or_many(client, prompt, texts):
    answer = complete(client, prompt, max_tokens=2)
    assert [choice["text"] for choice in answer["choices"]] == texts


def test_choices_are_numbered_prompt_by_prompt(client):
    choices = complete(client, ["ab", "cd"], n=2, max_tokens=2)["choices"]
    found = [(choice["index"], choice["text"]) for choice in choices]
    assert found == [(0, "ab"), (1, "ab"), (2, "cd"), (3, "cd")]


def test_usage_counts_the_token_that_completes_a_stop_string(client):
    answer = complete(client, "abcdef", stop=["zz", "cd"])
    assert answer["choices"][0]["text"] == "ab"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 4


def test_eos_is_a_stop(client):
    choice = complete(client, "hi!")["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ("hi!", "stop")


def test_echo_puts_the_prompt_before_the_answer(client):
    answer = complete(client, "abc", echo=True, max_tokens=2)
    assert answer["choices"][0]["text"] == "abcab"
    nothing = complete(client, ["abc", "d"], echo=True, max_tokens=0)
    assert [choice["text"] for choice in nothing["choices"]] == ["abc", "d"]
    assert nothing["usage"]["completion_tokens"] == 0


def test_completions_tell_log_probabilities_and_alternatives(client):
    logprobs = complete(client, "hi!", logprobs=2)["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["h", "i", "!"]
    assert logprobs["token_logprobs"] == [-0.25] * 3
    assert logprobs["text_offset"] == [0, 1, 2]
    assert logprobs["top_logprobs"][2] == {"!": -0.25, "B": -1.25}
    assert complete(client, "a", logprobs=0, max_tokens=1)["choices"][0]["logprobs"] == {
        "tokens": ["a"],
        "token_logprobs": [-0.25],
        "top_logprobs": [{"a": -0.25}],
        "text_offset": [0],
    }


def test_chats_tell_log_probabilities_and_alternatives(client):
    answer = chat(client, "hi", max_tokens=1, logprobs=True, top_logprobs=2)
    token = {"token": "U", "logprob": -0.25, "bytes": [85]}
    other = {"token": "B", "logprob": -1.25, "bytes": [66]}
    content = [{**token, "top_logprobs": [token, other]}]
    assert answer["choices"][0]["logprobs"] == {"content": content, "refusal": None}


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "aé–😀b"},
        {"prompt": "hi!", "logprobs": 3},
        {"prompt": ["abcd", "dabc"], "n": 2, "stop": "cda", "logprobs": 1},
        {"prompt": "abc", "temperature": 1, "seed": 4, "n": 3},
        {"prompt": "ab", "echo": True, "n": 2},
        {"prompt": "ab", "echo": True, "max_tokens": 0},
    ],
)
def test_a_stream_makes_the_same_whole(client, fields):
    whole = complete(client, **fields)
    body = {**fields, "stream_options": {"include_usage": True}}
    *parts, last = chunks(client, "/v1/completions", body)
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]
    assert all(part["usage"] is None for part in parts)
    assert len({part["id"] for part in parts}) == 1
    for choice in whole["choices"]:
        mine = [part["choices"][0] for part in parts]
        mine = [part for part in mine if part["index"] == choice["index"]]
        assert "".join(part["text"] for part in mine) == choice["text"]
        assert [part["finish_reason"] for part in mine[:-1]] == [None] * (len(mine) - 1)
        assert mine[-1]["finish_reason"] == choice["finish_reason"]
        if choice["logprobs"]:
            for name, values in choice["logprobs"].items():
                assert [each for part in mine for each in part["logprobs"][name]] == values


def test_a_chat_streams_a_role_then_contents(client):
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "n": 2}
    parts = chunks(client, "/v1/chat/completions", body)
    assert {part["object"] for part in parts} == {"chat.completion.chunk"}
    assert "usage" not in parts[0]
    choices = [part["choices"][0] for part in parts]
    opening = {"role": "assistant", "content": ""}
    assert [choice["delta"] for choice in choices[:2]] == [opening, opening]
    first = [choice for choice in choices if choice["index"] == 0]
    assert "".join(choice["delta"].get("content", "") for choice in first) == "Use"
    assert first[-1]["finish_reason"] == "length"


@pytest.mark.parametrize(
    "most, said",
    [(1, ""), (2, ""), (3, "h"), (7, "hi"), (8, "hi \n y"), (12, "hi \n you")],
)
def test_a_message_has_no_white_space_around_it(serving, most, said):
    client = serving(Parrot(layout="text_to_text"))
    body = {"max_tokens": most, "n": 2, "logprobs": True}
    whole = chat(client, " \thi \n you \n", **body)["choices"]
    assert [choice["message"]["content"] for choice in whole] == [said] * 2
    messages = [{"role": "user", "content": " \thi \n you \n"}]
    parts = chunks(client, "/v1/chat/completions", {"messages": messages, **body})
    for i, choice in enumerate(whole):
        mine = [part["choices"][0] for part in parts if part["choices"][0]["index"] == i]
        assert "".join(part["delta"].get("content", "") for part in mine) == said
        tokens = [t for part in mine if part["logprobs"] for t in part["logprobs"]["content"]]
        assert tokens == choice["logprobs"]["content"] and len(tokens) == most


def test_a_chat_ends_before_the_users_next_turn(client):
    answer = chat(client, "a\nUser: b")  # which the parrot says again, the next turn included
    assert answer["choices"][0]["message"]["content"] == "User: a"
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_messages_go_through_the_exports_template(serving):
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}!"
    client = serving(Parrot(chat_template=template))
    parts = [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]
    messages = [{"role": "developer", "content": "s"}, {"role": "user", "content": parts}]
    answer = client.post("/v1/chat/completions", json={**GREEDY, "messages": messages}).json()
    assert answer["choices"][0]["message"]["content"] == "<system>s<user>xy!"


def test_a_template_that_refuses_messages_says_why(serving):
    client = serving(Parrot(chat_template="{{ raise_exception('only one turn') }}"))
    error = chat(client, "a", status=400)
    assert error["param"] == "messages"
    assert "only one turn" in error["message"]


def test_a_model_that_answers_texts_is_given_the_last_message(serving):
    client = serving(Parrot(layout="text_to_text"))
    assert chat(client, "a", "b", "word!")["choices"][0]["message"]["content"] == "word!"
