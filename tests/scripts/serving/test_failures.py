"""Exports that fail, clients that go away, and more requests than there are rows."""

import asyncio
import json
import threading
import time

import pytest

from tests.scripts.serving.asking import GREEDY, complete, wait_until


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


def test_a_full_queue_is_a_429_before_a_prompt_is_read(serving):
    client = serving(max_batch_size=1, max_queue=1)
    slow = {"prompt": "slow", "max_tokens": 10}
    threads = []
    for full in (lambda: client.engine.running.keys, lambda: client.engine.waiting):
        threads.append(threading.Thread(target=complete, args=[client], kwargs=slow))
        threads[-1].start()
        wait_until(full)
    client.parrot.tokenize = None
    answer = client.post("/v1/completions", json={**GREEDY, "prompt": "abc"})
    for thread in threads:
        thread.join()
    assert answer.status_code == 429
    assert answer.headers["Retry-After"]
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_row(serving, stream):
    client = serving()
    body = {**GREEDY, "prompt": "slow", "max_tokens": 60, "stream": stream}
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive():
        if messages:
            return messages.pop(0)
        while not client.engine.running.keys:
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
    wait_until(lambda: not client.engine.running.keys)
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
