"""The real process, asked by OpenAI's own client."""

import asyncio
import concurrent.futures
import signal
import socket
import subprocess
import sys
import time

import httpx2
import openai
import pytest

from tests.scripts.serving.asking import GREEDY, wait_until
from tests.scripts.serving.processes import client_of, environment, gauge, started
from trainers.settings import ROOT


@pytest.fixture(scope="module")
def server():
    flags = ["--api_key=secret", "--max_batch_size=4", "--max_queue=4"]
    with started(*flags, keys="second, third") as server:
        yield server
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=20)
        assert server.returncode == 0, errors
        assert "Traceback" not in errors


@pytest.fixture(scope="module")
def client(server):
    with client_of(server, "secret") as client:
        yield client


@pytest.fixture
def complete(client):
    def complete(prompt="one two", **options):
        return client.completions.create(prompt=prompt, **{**GREEDY, **options})

    return complete


@pytest.fixture
def chat(client):
    def chat(content="hi", **options):
        messages = [{"role": "user", "content": content}]
        return client.chat.completions.create(messages=messages, **{**GREEDY, **options})

    return chat


def test_models_are_found(client):
    assert [model.id for model in client.models.list()] == ["parrot"]
    assert client.models.retrieve("parrot").id == "parrot"


def test_keys_are_those_of_the_flag_and_of_the_environment(server):
    for key in ("secret", "second", "third"):
        with client_of(server, key) as client:
            assert client.models.list().data


def test_a_completion_is_as_long_as_asked(complete):
    answer = complete(max_tokens=5)
    assert answer.usage.completion_tokens == 5
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 5
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].text


def test_completions_of_several_prompts_are_those_of_each(complete):
    both = complete(["one two", "three"], n=2, max_tokens=6)
    texts = [choice.text for choice in both.choices]
    alone = [complete(prompt, max_tokens=6).choices[0].text for prompt in ("one two", "three")]
    assert texts == [alone[0], alone[0], alone[1], alone[1]]


def test_tokens_are_a_prompt(complete):
    assert complete([[112, 111]], max_tokens=3).choices[0].text


def test_a_stream_of_completions_makes_the_same_text(complete):
    options = {"max_tokens": 12, "temperature": 1, "seed": 5, "n": 2}
    whole = complete(**options)
    texts = ["", ""]
    usage = None
    for chunk in complete(stream=True, stream_options={"include_usage": True}, **options):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
        usage = chunk.usage or usage
    assert texts == [choice.text for choice in whole.choices]
    assert usage == whole.usage


def test_a_chat_is_answered_by_the_assistant(chat):
    answer = chat(max_tokens=5)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens == 5


def test_a_stream_of_chats_makes_the_same_text(chat):
    whole = chat(max_completion_tokens=9).choices[0]
    chunks = [chunk.choices[0] for chunk in chat(max_completion_tokens=9, stream=True)]
    assert chunks[0].delta.role == "assistant"
    assert "".join(chunk.delta.content or "" for chunk in chunks) == whole.message.content
    assert chunks[-1].finish_reason == whole.finish_reason


def test_a_stop_string_cuts_a_text(complete):
    text = complete(max_tokens=12).choices[0].text
    stop = text[5:7]
    cut = complete(max_tokens=12, stop=stop).choices[0]
    assert cut.text == text[: text.index(stop)]
    assert cut.finish_reason == "stop"


def test_log_probabilities_come_with_each_token(complete, chat):
    logprobs = complete(max_tokens=4, logprobs=3).choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == 4
    assert all(value <= 0 for value in logprobs.token_logprobs)
    assert all(1 <= len(top) <= 4 for top in logprobs.top_logprobs)
    content = chat(max_tokens=4, logprobs=True, top_logprobs=20).choices[0].logprobs.content
    assert len(content) == 4
    assert all(len(token.top_logprobs) == 20 for token in content)
    assert all(token.top_logprobs[0].logprob == token.logprob for token in content)  # greedy


def test_settings_beyond_openais_are_extra(complete):
    extra = {"top_k": 1, "min_p": 0.1, "repetition_penalty": 1.1, "truncation": "left"}
    assert complete("a" * 5000, temperature=1, extra_body=extra).choices[0].text


def test_errors_are_the_clients_own(client, complete, server):
    with pytest.raises(openai.BadRequestError) as error:
        complete(temperature=3)
    assert error.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as error:
        complete("a" * 5000)
    assert error.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="other", prompt="a")
    with client_of(server, "wrong") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_queue_that_is_full_is_a_rate_limit(complete):
    def ask(i):
        try:
            return complete(f"slow {i}", max_tokens=20).choices[0].finish_reason
        except openai.RateLimitError as error:
            assert int(error.response.headers["Retry-After"]) > 0
            return "refused"

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(24)))
    assert set(answers) == {"length", "refused"}
    assert answers.count("length") >= 4


def test_closing_a_stream_frees_its_row(complete, server):
    stream = complete("slow", max_tokens=50, stream=True)
    next(iter(stream))
    assert gauge(server, "menagerie_running_rows") == 1
    stream.close()
    wait_until(lambda: gauge(server, "menagerie_running_rows") == 0, seconds=2)


def test_500_requests_at_once_are_answered_or_refused(server):
    async def flood():
        limits = httpx2.Limits(max_connections=None)
        headers = {"Authorization": "Bearer secret"}
        body = {**GREEDY, "prompt": "ab", "max_tokens": 2}
        async with httpx2.AsyncClient(headers=headers, limits=limits, timeout=60) as client:
            asked = [client.post(f"{server.address}/v1/completions", json=body) for _ in range(500)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    statuses = asyncio.run(flood())
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 4
    assert httpx2.get(f"{server.address}/health").status_code == 200


def test_a_body_that_does_not_come_is_a_timeout():
    def never():
        yield b"{"
        time.sleep(1.5)
        yield b"}"

    headers = {"Content-Type": "application/json"}
    # A server of its own: one that waits for headers so short a time drops some of a flood.
    with started("--body_timeout_s=1") as server:
        answer = httpx2.post(f"{server.address}/v1/completions", content=never(), headers=headers)
    assert answer.status_code == 408
    assert "--body_timeout_s" in answer.json()["error"]["message"]


def test_sigterm_lets_answers_end_and_refuses_new_ones():
    with started("--grace_s=20") as server, client_of(server) as client:
        options = {**GREEDY, "prompt": "slow", "max_tokens": 20}
        stream = iter(client.completions.create(stream=True, **options))
        chunks = [next(stream)]
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx2.get(f"{server.address}/health").status_code == 503)
        with pytest.raises(openai.InternalServerError) as error:
            client.completions.create(**options)
        assert error.value.status_code == 503
        chunks += stream
        assert chunks[-1].choices[0].finish_reason == "length"
        _, errors = server.communicate(timeout=10)
        assert server.returncode == 0
        assert "Traceback" not in errors


def test_what_goes_on_beyond_the_grace_ends_with_an_error():
    with started("--grace_s=0.2") as server, client_of(server) as client:
        options = {**GREEDY, "prompt": "slow", "max_tokens": 60}
        stream = client.completions.create(stream=True, **options)
        next(iter(stream))
        server.send_signal(signal.SIGTERM)
        with pytest.raises(openai.APIError, match="stopping"):
            list(stream)
        assert server.wait(timeout=10) == 0


def complaint(*flags, before="pass"):
    script = f"import runpy, sys; {before}; runpy.run_path('scripts/serve.py', run_name='__main__')"
    ran = subprocess.run(
        [sys.executable, "-c", script, *flags],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr.count("\n") == 1, ran.stderr
    return ran.stderr


def test_errors_at_the_start_are_one_line(tmp_path):
    assert "--mode=export" in complaint(f"--model={tmp_path}")
    (tmp_path / "saved_model.pb").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "Address already in use" in complaint(f"--model={tmp_path}", f"--port={port}")
    missing = complaint(f"--model={tmp_path}", before="sys.modules['uvicorn'] = None")
    assert "pip install -e '.[serve]'" in missing
