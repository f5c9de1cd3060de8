"""Requests that cannot be, and what the routes say of them."""

import pytest
from serving.api import Limits

from tests.scripts.serving.asking import chat, complete
from tests.scripts.serving.parrot import Parrot


@pytest.mark.parametrize(
    "fields, param, words",
    [
        ({"temperature": 2.5}, "temperature", "from 0 to 2"),
        ({"temperature": -1}, "temperature", "from 0 to 2"),
        ({"temperature": "hot"}, "temperature", "number"),
        ({"temperature": True}, "temperature", "number"),
        ({"top_p": 1.5}, "top_p", "from 0 to 1"),
        ({"min_p": -0.1}, "min_p", "from 0 to 1"),
        ({"top_k": 1.5}, "top_k", "integer"),
        ({"repetition_penalty": 0}, "repetition_penalty", "0.01"),
        ({"presence_penalty": 3}, "presence_penalty", "-2 to 2"),
        ({"frequency_penalty": []}, "frequency_penalty", "number"),
        ({"seed": "1"}, "seed", "integer"),
        ({"n": 0}, "n", "from 1"),
        ({"n": 1000}, "n", "at most 4"),
        ({"n": 10**400}, "n", "from 1"),
        ({"best_of": 2}, "best_of", "not supported"),
        ({"max_tokens": -1}, "max_tokens", "from 0"),
        ({"logprobs": 6}, "logprobs", "from 0 to 5"),
        ({"logprobs": True}, "logprobs", "integer"),
        ({"logprobs": 0, "echo": True}, "echo", "echo with logprobs is not supported"),
        ({"stop": ["a"] * 100}, "stop", "at most 16"),
        ({"stop": 5}, "stop", "list of strings"),
        ({"stop": [""]}, "stop", "empty"),
        ({"suffix": "end"}, "suffix", "not supported"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "not supported"),
        ({"stream": "yes"}, "stream", "true or false"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "stream"),
        ({"stream": True, "stream_options": []}, "stream_options", "object"),
        (
            {"stream": True, "stream_options": {"include_usages": True}},
            "stream_options.include_usages",
            "did you mean include_usage?",
        ),
        ({"prompt": None}, "prompt", "string"),
        ({"prompt": []}, "prompt", "string"),
        ({"prompt": [1, "a"]}, "prompt", "string"),
        ({"prompt": [0]}, "prompt", "<eos>"),
        ({"prompt": [5000]}, "prompt", "vocabulary"),
        ({"prompt": ["a"] * 17}, "prompt", "at most 16"),
        ({"temprature": 1}, "temprature", "did you mean temperature?"),
        ({"truncation": "right"}, "truncation", "left"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "from 1"),
        ({"model": None}, "model", "/v1/models"),
    ],
)
def test_a_wrong_field_is_named(client, fields, param, words):
    prompt = fields.pop("prompt", "abc")
    error = complete(client, prompt, status=400, **fields)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert words in error["message"]


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        ({"messages": [{"role": "owner", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_a_wrong_field_of_a_chat_is_named(client, fields, param):
    error = chat(client, "hi", status=400, **fields)
    assert error["param"] == (param or "messages[0].content")


def test_more_messages_than_a_server_renders_are_refused(serving):
    client = serving(Parrot(layout="text_to_text"))  # which is given the last one alone
    error = chat(client, *["a"] * 1001, status=400)
    assert error["param"] == "messages"
    assert "1001 messages; at most 1000" in error["message"]
    chat(client, *["a"] * 999)


def test_fields_that_change_nothing_are_taken(client):
    complete(client, user="me", logit_bias={}, suffix=None, best_of=1, metadata={"a": "b"})
    chat(client, "a", response_format={"type": "text"}, tools=[], store=False, max_tokens=1)


def test_a_prompt_beyond_the_context_is_refused_or_cut_from_the_left(client):
    long = "0123456789" * 7
    error = complete(client, long, status=400)
    assert error["code"] == "context_length_exceeded"
    assert "70 tokens" in error["message"]
    assert complete(client, "a" * 64, status=400)["code"] == "context_length_exceeded"
    assert complete(client, "a" * 64, status=400)["param"] == "prompt"
    assert chat(client, "a" * 64, status=400)["param"] == "messages"
    cut = complete(client, long, truncation="left", max_tokens=20)
    assert cut["choices"][0]["text"] == (2 * long[-44:])[:20]
    assert cut["usage"] == {"prompt_tokens": 44, "completion_tokens": 20, "total_tokens": 64}
    cut = complete(client, long, truncate_prompt_tokens=4, max_tokens=6)
    assert cut["choices"][0]["text"] == "678967"
    assert cut["usage"]["prompt_tokens"] == 4


def test_a_cut_does_not_begin_within_a_character(client):
    cut = complete(client, "aéé", truncate_prompt_tokens=3, max_tokens=2)
    assert cut["choices"][0]["text"] == "é"


def test_an_answer_ends_where_the_context_does(client):
    answer = complete(client, "a" * 60, max_tokens=1000)
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["choices"][0]["finish_reason"] == "length"


def test_models_are_listed_and_found(client):
    (listed,) = client.get("/v1/models").json()["data"]
    assert listed["id"] == "parrot"
    assert listed["object"] == "model"
    assert client.get("/v1/models/parrot").json() == listed
    missing = client.get("/v1/models/some/other")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"
    assert missing.json()["error"]["type"] == "invalid_request_error"
    error = complete(client, model="gpt-4", status=404)
    assert error["code"] == "model_not_found"


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/v2/models", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/completions", 405),
        ("PUT", "/v1/chat/completions", 405),
        ("DELETE", "/", 405),
        ("GET", "/v1/models/", 404),
    ],
)
def test_a_wrong_address_or_method_is_an_error_object(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "object"),
        (b'"text"', "object"),
        (b'{"temperature": NaN}', "NaN"),
        (b'{"temperature": -Infinity}', "Infinity"),
        (b'{"prompt": "\xff"}', "UTF-8"),
        (b'{"prompt": "\\ud800"}', "Unicode"),
        (b"[" * 200_000, "nested"),
        (b'{"n": ' + b"1" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(client, content, words):
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/completions", content=content, headers=headers)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_body_of_another_type_is_refused(client):
    for headers in ({}, {"Content-Type": "text/plain"}):
        answer = client.post("/v1/completions", content=b"{}", headers=headers)
        assert answer.status_code == 415
        assert "application/json" in answer.json()["error"]["message"]


def test_a_large_body_is_refused_before_it_is_read(serving):
    client = serving(limits=Limits(max_body_bytes=1000))
    assert complete(client, "a" * 2000, status=413)["type"] == "invalid_request_error"

    parts = (b" " * 100 for _ in range(1000))
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/completions", content=parts, headers=headers)
    assert answer.status_code == 413


def test_keys_are_asked_for_where_there_are_any(serving):
    client = serving(limits=Limits(api_keys=("one", "two")))
    assert complete(client, status=401)["code"] == "invalid_api_key"
    for value, status in [
        ("Bearer two", 200),
        ("bearer one", 200),
        ("Bearer x", 401),
        ("two", 401),
    ]:
        answer = client.get("/v1/models", headers={"Authorization": value})
        assert answer.status_code == status
    assert client.get("/health").status_code == 200
