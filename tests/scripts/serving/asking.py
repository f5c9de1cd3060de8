"""Asks an application for answers, as tests do."""

import json
import time

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
