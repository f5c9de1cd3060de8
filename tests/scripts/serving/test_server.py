"""Addresses to listen on; connections are in test_connections.py, the process in test_serve.py."""

import pytest
from serving import server


def test_an_address_is_one_to_ask():
    with server.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert server.address(listener) == f"http://127.0.0.1:{port}"


def test_an_address_of_ipv6_stands_in_brackets():
    try:
        listener = server.listen("::1", 0)
    except OSError as error:
        pytest.skip(str(error))
    with listener:
        assert server.address(listener).startswith("http://[::1]:")


def test_an_address_of_another_machine_is_a_sentence():
    with pytest.raises(OSError, match=r"^cannot listen on 192\.0\.2\.1:8000: .*see --host"):
        server.listen("192.0.2.1", 8000)
