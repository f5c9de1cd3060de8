import contextlib

import pytest
from serving.api import Limits, build
from serving.engine import Engine
from serving.model import Model
from starlette.testclient import TestClient

from tests.scripts.serving.parrot import Parrot


@pytest.fixture(scope="module")
def serving():
    """A client of an application over a Parrot, with an engine of its own."""
    with contextlib.ExitStack() as stack:

        def serving(parrot=None, limits=None, **options):
            parrot = parrot or Parrot()
            engine = Engine(parrot, **{"max_batch_size": 4, "max_queue": 16, **options})
            engine.start()
            stack.callback(engine.close)
            app = build(Model.of(parrot), engine, limits or Limits())
            client = stack.enter_context(TestClient(app, raise_server_exceptions=False))
            client.parrot, client.engine = parrot, engine
            return client

        yield serving


@pytest.fixture(scope="module")
def client(serving):
    return serving()
