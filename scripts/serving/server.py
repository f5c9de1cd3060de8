"""The process: a socket, uvicorn on it, and a stop that lets answers come to their end."""

import contextlib
import functools
import socket
import sys
import threading

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from serving.errors import ApiError

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
        raise OSError(
            f"cannot listen on {host}:{port}: {error.strerror}; see --host and --port"
        ) from None
    return listener


def address(listener):
    """By which clients reach it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def configure(app, engine, grace_s, read_timeout_s, write_timeout_s, ready):
    """A `Server`, which `run(sockets=[...])` runs.

    Args:
      app: of ASGI.
      engine: see engine.py; it has started.
      grace_s: see `Server`.
      read_timeout_s, write_timeout_s: see `Protocol`.
      ready: called when requests are answered.
    """
    config = uvicorn.Config(
        app,
        http=functools.partial(Protocol, read_timeout_s, write_timeout_s),
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
    """Ends connections on which nothing moves, and refuses what is not HTTP as the routes refuse.

    Args:
      read_timeout_s: how long a request's headers may take, and what is left of its body once it
        is answered; while it is not, the routes have limits of their own.
      write_timeout_s: how long a client may take nothing of what it is sent.
    """

    def __init__(self, read_timeout_s, write_timeout_s, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.read_timeout_s = read_timeout_s
        self.write_timeout_s = write_timeout_s
        self.read_timer = None
        self.write_timer = None

    def connection_made(self, transport):
        super().connection_made(transport)
        # Writing pauses while anything is left to be sent, however little.
        transport.set_write_buffer_limits(high=0)
        self.watch_reading()

    def data_received(self, data):
        super().data_received(data)
        self.watch_reading()

    def pause_writing(self):
        super().pause_writing()
        self.watch_writing()

    def resume_writing(self):
        super().resume_writing()
        self.write_timer.cancel()

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.unwatch_reading()
        if self.write_timer is not None:
            self.write_timer.cancel()

    def watch_reading(self):
        answered = self.conn.our_state is h11.DONE
        if self.conn.their_state is not h11.IDLE and not answered:
            self.unwatch_reading()
        elif self.read_timer is None:
            self.read_timer = self.loop.call_later(self.read_timeout_s, self.transport.close)

    def unwatch_reading(self):
        if self.read_timer is not None:
            self.read_timer.cancel()
            self.read_timer = None

    def watch_writing(self, before=None):
        unsent = self.transport.get_write_buffer_size()
        if unsent == before:
            self.transport.abort()  # to close it would be to wait for the client
        else:
            self.write_timer = self.loop.call_later(
                self.write_timeout_s, self.watch_writing, unsent
            )

    def send_400_response(self, msg):
        error = sys.exception()  # h11's own: this is called where it is caught
        status = getattr(error, "error_status_hint", 400)
        refusal = ApiError(status, f"the request is not valid HTTP: {error or msg}").response()
        headers = [*refusal.raw_headers, (b"connection", b"close")]
        with contextlib.suppress(h11.LocalProtocolError):  # answered already, or HEAD: no body
            for event in (
                h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status]),
                h11.Data(data=refusal.body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event))
        self.transport.close()
