"""The routes, over an export that says its prompt again and again."""

import asyncio
import json
import threading
import time

import pytest
from serving.api import Limits

from tests.scripts.serving.parrot import Parrot

GREEDY = {"model": "parrot", "temperature": 0}


def complete(client, prompt="abc", status=200, **fields):
    answer = client.post("/v1/completions", json={**GREEDY, "prompt": prompt, **fields})
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.json()["error"]


def chat(client, *contents, status=200, **fields):
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]
    body = {**GREEDY, "messages": messages, **fields}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.json()["error"]


def chunks(client, path, body):
    answer = client.post(path, json={**GREEDY, **body, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


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
    answer = chat(client, "hi", max_tokens=6)
    assert answer.pop("id").startswith("chatcmpl-")
    answer.pop("created")
    prompt = "User: hi\nAssistant:"
    message = {"role": "assistant", "content": prompt[:6], "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    assert answer == {
        "object": "chat.completion",
        "model": "parrot",
        "system_fingerprint": None,
        "choices": [choice],
        "usage": {"prompt_tokens": 19, "completion_tokens": 6, "total_tokens": 25},
    }


def test_defaults_are_openais(client):
    complete(client, temperature=None)
    start = client.parrot.starts[-1]
    assert (start["max_new_tokens"], start["temperature"], start["top_p"]) == (16, 1.0, 1.0)
    chat(client, "hi")
    assert client.parrot.starts[-1]["max_new_tokens"] == 64 - len("User: hi\nAssistant:")


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
    assert {name: start[name] for name in settings} == {**settings, "seed": 5}


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
    answer = complete(client, "abc", echo=True, max_tokens=2, logprobs=0)
    assert answer["choices"][0]["text"] == "abcab"
    assert answer["choices"][0]["logprobs"]["text_offset"] == [3, 4]
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
        ({"stop": ["a"] * 100}, "stop", "at most 16"),
        ({"stop": 5}, "stop", "list of strings"),
        ({"stop": [""]}, "stop", "empty"),
        ({"suffix": "end"}, "suffix", "not supported"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "not supported"),
        ({"stream": "yes"}, "stream", "true or false"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "stream"),
        ({"stream": True, "stream_options": []}, "stream_options", "object"),
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


def test_fields_that_change_nothing_are_taken(client):
    complete(client, user="me", logit_bias={}, suffix=None, best_of=1, metadata={"a": "b"})
    chat(client, "a", response_format={"type": "text"}, tools=[], store=False, max_tokens=1)


def test_a_prompt_beyond_the_context_is_refused_or_cut_from_the_left(client):
    long = "0123456789" * 7
    error = complete(client, long, status=400)
    assert error["code"] == "context_length_exceeded"
    assert "70 tokens" in error["message"]
    assert complete(client, "a" * 64, status=400)["code"] == "context_length_exceeded"
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


def test_an_export_that_raises_is_a_500_and_the_next_request_is_answered(client):
    for prompt in ("raise in start", "raise in next"):
        assert complete(client, prompt, status=500)["type"] == "server_error"
        assert complete(client, "ab", max_tokens=2)["choices"][0]["text"] == "ab"


def test_a_failure_in_the_middle_of_a_stream_is_an_event(serving):
    client = serving(timeout_s=0.2)
    body = {**GREEDY, "prompt": "slow", "stream": True, "max_tokens": 60}
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200
    last = answer.text.split("\n\n")[-2]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "timeout"


def test_an_answer_that_takes_too_long_is_a_408(serving):
    client = serving(timeout_s=0.2)
    answer = client.post("/v1/completions", json={**GREEDY, "prompt": "slow", "max_tokens": 60})
    assert answer.status_code == 408
    assert answer.json()["error"]["code"] == "timeout"
    assert answer.headers["x-should-retry"] == "false"


def test_a_full_queue_is_a_429(serving):
    client = serving(max_batch_size=1, max_queue=1)
    slow = {"prompt": "slow", "max_tokens": 10}
    threads = []
    for full in (lambda: client.engine.rows, lambda: client.engine.waiting):
        threads.append(threading.Thread(target=complete, args=[client], kwargs=slow))
        threads[-1].start()
        wait_until(full)
    answer = client.post("/v1/completions", json={**GREEDY, "prompt": "abc"})
    assert answer.status_code == 429
    assert answer.headers["Retry-After"]
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_row(serving, stream):
    client = serving()
    body = {**GREEDY, "prompt": "slow", "max_tokens": 60, "stream": stream}
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive():
        if messages:
            return messages.pop(0)
        while not client.engine.rows:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        return {"type": "http.disconnect"}

    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "POST",
        "path": "/v1/completions",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    began = time.monotonic()
    asyncio.run(client.app(scope, receive, send))
    wait_until(lambda: not client.engine.rows)
    assert time.monotonic() - began < 2
    assert not client.engine.unfinished


def test_many_requests_at_once_are_all_answered(serving):
    client = serving(max_queue=500, max_batch_size=16)
    texts = []

    def ask(i):
        texts.append(complete(client, f"{i:04}", max_tokens=4)["choices"][0]["text"])

    threads = [threading.Thread(target=ask, args=[i]) for i in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts) == [f"{i:04}" for i in range(100)]


def test_a_stopping_server_refuses_and_says_so(serving):
    client = serving()
    assert client.get("/health").json() == {"status": "ok"}
    client.engine.drain(grace_s=1)
    assert client.get("/health").status_code == 503
    assert complete(client, status=503)["code"] == "stopping"


def test_metrics_count_requests_tokens_and_times(serving):
    client = serving()
    complete(client, "abc", max_tokens=5, n=2)
    complete(client, "abc", n=0, status=400)
    client.get("/nowhere")
    page = client.get("/metrics").text
    for line in (
        'menagerie_requests_total{endpoint="/v1/completions",status="200"} 1.0',
        'menagerie_requests_total{endpoint="/v1/completions",status="400"} 1.0',
        'menagerie_requests_total{endpoint="other",status="404"} 1.0',
        "menagerie_prompt_tokens_total 3.0",
        "menagerie_generated_tokens_total 10.0",
        "menagerie_waiting_prompts 0.0",
        "menagerie_running_rows 0.0",
        "menagerie_time_to_first_token_seconds_count 2.0",
        "menagerie_time_per_token_seconds_count 8.0",
    ):
        assert line in page.splitlines()


def test_the_page_needs_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text and "https://" not in page.text
