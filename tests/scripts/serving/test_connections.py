"""What clients do that no HTTP library lets them: over sockets, to a server in a thread."""

import json
import socket
import time
from urllib.parse import urlsplit

import httpx2
import pytest
from serving.api import Limits

from tests.scripts.serving.asking import GREEDY, wait_until
from tests.scripts.serving.threads import served

GET = b"GET /health HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
KEY = b"Authorization: Bearer secret\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def address():
    limits = Limits(api_keys=("secret",), body_timeout_s=0.5)
    with served(limits, read_timeout_s=0.5) as (address, _):
        yield address


@pytest.fixture(autouse=True)
def nothing_logged(caplog):
    yield
    assert not caplog.records


def connected(address, receive_buffer=None):
    address = urlsplit(address)
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(5)
    connection.connect((address.hostname, address.port))
    return connection


def all_of(connection):
    """What comes until the server ends the connection."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def statuses(received):
    return [line.split()[1] for line in received.split(b"\r\n") if line.startswith(b"HTTP/")]


@pytest.mark.parametrize(
    "sent, status",
    [
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # how TLS begins
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # without a Host
        (GET + b"a header\r\n\r\n", 400),
        (GET + b"X: \x00\r\n\r\n", 400),
        (GET + b"X: " + b"x" * 100_000, 431),
        (POST + KEY + b"Content-Length: -1\r\n\r\n", 400),
        (POST + KEY + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (POST + KEY + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (POST + KEY + CHUNKED + b"1\r\n{{{", 400),
        (POST + KEY + CHUNKED + b"no number\r\n", 400),
    ],
)
def test_what_is_not_http_is_refused_as_the_routes_refuse(address, sent, status):
    with connected(address) as connection:
        connection.sendall(sent)
        head, _, body = all_of(connection).partition(b"\r\n\r\n")
    start, *headers = head.lower().split(b"\r\n")
    assert start.split()[1] == str(status).encode()
    assert b"content-type: application/json" in headers
    assert b"connection: close" in headers
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].startswith("the request is not valid HTTP: ")


def test_what_is_not_http_of_a_head_is_refused_without_a_body(address):
    with connected(address) as connection:
        connection.sendall(b"HEAD /health HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"no number\r\n")
        received = all_of(connection)
    assert statuses(received) == [b"400"]
    assert received.endswith(b"\r\n\r\n")


def test_what_is_not_http_behind_an_answer_ends_the_connection(address):
    with connected(address) as connection:
        connection.sendall(POST + CHUNKED)
        received = connection.recv(65536)
        connection.sendall(b"no number\r\n")
        received += all_of(connection)
    assert statuses(received) == [b"401"]


def test_a_client_that_leaves_within_its_body_is_no_failure(address):
    with connected(address) as connection:
        connection.sendall(POST + KEY + b"Content-Length: 99\r\n\r\n{")
    wait_until(lambda: 'v1/completions",status="499"' in httpx2.get(f"{address}/metrics").text)


@pytest.mark.parametrize(
    "sent, drop, answers",
    [
        (b"", b"", []),
        (GET, b"X: x\r\n", []),
        (POST + KEY + b"Content-Length: 9999\r\n\r\n", b" ", [b"408"]),
        (POST + b"Content-Length: 9999\r\n\r\n", b" ", [b"401"]),
        (GET + b"Content-Length: 9999\r\n\r\n", b" ", [b"200"]),
        (POST + KEY + b"Content-Length: 99999999\r\n\r\n", b" ", [b"413"]),
    ],
)
def test_a_client_that_sends_drop_by_drop_is_let_go(address, sent, drop, answers):
    began = time.monotonic()
    received = b""
    with connected(address) as connection:
        connection.settimeout(0.1)
        connection.sendall(sent)
        while time.monotonic() - began < 5:
            try:
                part = connection.recv(65536)
                received += part
                if not part:
                    break
            except TimeoutError:
                connection.sendall(drop)
            except ConnectionError:
                break
    assert time.monotonic() - began < 4
    assert statuses(received) == answers


def test_headers_without_end_end_the_connection(address):
    with connected(address) as connection, pytest.raises(ConnectionError):
        connection.sendall(GET)
        for _ in range(10_000):
            connection.sendall(b"X: " + b"x" * 1000 + b"\r\n")


BODY = {**GREEDY, "prompt": "slow", "max_tokens": 60, "logprobs": 5, "n": 2, "stream": True}


def ask(connection, body):
    body = json.dumps(body).encode()
    connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def test_a_client_that_reads_nothing_is_let_go_and_frees_its_rows():
    with served(send_buffer=4096, write_timeout_s=0.3) as (address, engine):
        with connected(address, receive_buffer=2048) as connection:
            ask(connection, BODY)
            wait_until(lambda: engine.running.keys)
            wait_until(lambda: not engine.unfinished and not engine.running.keys)
            assert len(engine.export.shapes) < 50  # of the 60 steps that the texts would take
            answer = httpx2.post(f"{address}/v1/completions", json={**GREEDY, "prompt": "hi!"})
            assert answer.json()["choices"][0]["text"] == "hi!"
            assert b"[DONE]" not in all_of(connection)


def test_a_client_that_reads_slowly_is_sent_all():
    with served(send_buffer=4096, write_timeout_s=0.3) as (address, _):
        with connected(address, receive_buffer=2048) as connection:
            ask(connection, {**BODY, "max_tokens": 20})
            received = b""
            while not received.endswith(b"0\r\n\r\n"):
                received += connection.recv(1500)
                time.sleep(0.1)
    assert b"data: [DONE]" in received
