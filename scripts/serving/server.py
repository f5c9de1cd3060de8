"""The process: a socket, uvicorn on it, and a stop that lets answers come to their end."""

import functools
import os
import socket
import threading

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

WRITE_S = 2  # for what is written last to reach the clients


def listen(host, port):
    """A socket that has an address; it answers nobody yet.

    Raises:
      OSError: it is in use, or not this machine's; its text is a sentence.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno) if (error.errno or 0) > 0 else str(error)
        raise OSError(f"cannot listen on {host}:{port}: {reason}; see --host and --port") from None
    return listener


def address(listener):
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def configure(app, engine, grace_s, header_timeout_s, ready):
    """A `Server`, which `run(sockets=[...])` runs.

    Args:
      app: of ASGI.
      engine: see engine.py; it has started.
      grace_s: see `Server`.
      header_timeout_s: see `Protocol`.
      ready: called when requests are answered.
    """
    config = uvicorn.Config(
        app,
        http=functools.partial(Protocol, header_timeout_s),
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=WRITE_S,
    )
    return Server(config, engine, grace_s, ready)


class Server(uvicorn.Server):
    """At the first signal new requests are refused with 503 while the accepted ones go on.

    It ends when they are done or `grace_s` are over; at a second signal, at once.
    """

    def __init__(self, config, engine, grace_s, ready):
        super().__init__(config)
        self.engine = engine
        self.grace_s = grace_s
        self.ready = ready
        self.stopping = False

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.ready()

    def handle_exit(self, sig, frame):
        if self.stopping:
            self.should_exit = self.force_exit = True
        else:
            self.stopping = True
            # A signal handler must not wait for a lock that the code it interrupts may hold.
            threading.Thread(target=self.drain, name="drain", daemon=True).start()

    def drain(self):
        self.engine.drain(self.grace_s)
        self.should_exit = True


class Protocol(H11Protocol):
    """Closes a connection whose headers do not come within so many seconds."""

    def __init__(self, header_timeout_s, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.header_timeout_s = header_timeout_s
        self.timer = None

    def connection_made(self, transport):
        super().connection_made(transport)
        self.watch()

    def data_received(self, data):
        super().data_received(data)
        self.watch()

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.unwatch()

    def watch(self):
        if self.conn.their_state is not h11.IDLE:
            self.unwatch()
        elif self.timer is None:
            self.timer = self.loop.call_later(self.header_timeout_s, self.transport.close)

    def unwatch(self):
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
