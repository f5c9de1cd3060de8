"""The server in a process of its own."""

import contextlib
import os
import subprocess
import sys

import httpx2
import openai

from trainers.settings import ROOT

PARROT = ("tests/scripts/serving/parrot_server.py", "--model=parrot")


@contextlib.contextmanager
def started(*flags, command=PARROT, keys=""):
    """A running server, with its `address`; `keys` are in its environment."""
    with subprocess.Popen(
        [sys.executable, *command, "--port=0", *flags],
        cwd=ROOT,
        env=environment(keys),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("serving "), process.communicate()
            process.address = line.split()[-1]
            yield process
        finally:
            process.kill()


def environment(keys=""):
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/scripts", "MENAGERIE_API_KEYS": keys}


def client_of(server, key="any"):
    return openai.OpenAI(base_url=f"{server.address}/v1", api_key=key, max_retries=0, timeout=30)


def gauge(server, name):
    """The value of a line of /metrics."""
    lines = httpx2.get(f"{server.address}/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))
