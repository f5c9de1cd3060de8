"""The server in a thread, beside the engine that it asks."""

import contextlib
import socket
import threading

from serving import server
from serving.api import Limits, build
from serving.engine import Engine
from serving.model import Model

from tests.scripts.serving.parrot import Parrot


@contextlib.contextmanager
def served(limits=None, send_buffer=None, read_timeout_s=9, write_timeout_s=9):
    """(address, engine) of a server over a Parrot.

    Args:
      limits: of the routes; see `api.Limits`.
      send_buffer: bytes that the system takes for a client before it does.
      read_timeout_s, write_timeout_s: see `server.Protocol`.
    """
    engine = Engine(Parrot(), max_batch_size=2)
    engine.start()
    app = build(Model.of(engine.export), engine, limits or Limits())
    listener = server.listen("127.0.0.1", 0)
    if send_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    ready = threading.Event()
    running = server.configure(app, engine, 1, read_timeout_s, write_timeout_s, ready.set)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert ready.wait(10)
        yield server.address(listener), engine
    finally:
        running.should_exit = True
        thread.join()
        engine.close()
