"""A headless Chromium, told what to do over its debugging pipe."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a running browser."""

    def __init__(self, reading, writing):
        self.reading = reading
        self.writing = writing
        self.numbers = itertools.count(1)
        self.page = {}
        self.events = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.page = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params, **self.page}
        self.writing.write(json.dumps(message).encode() + b"\0")
        self.writing.flush()
        while True:
            answer = self.receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def receive(self):
        message = bytearray()
        while (byte := self.reading.read(1)) != b"\0":
            assert byte, "the browser has ended"
            message += byte
        return json.loads(message)

    def run(self, script):
        """The value of a JavaScript expression; a promise is waited for."""
        result = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, condition, seconds=10):
        """Until a JavaScript expression is true."""
        self.run(
            f"""new Promise((found, lost) => {{
                const end = Date.now() + {seconds * 1000};
                (function look() {{
                    if ({condition}) found();
                    else if (Date.now() > end) lost(document.body.innerText);
                    else setTimeout(look, 10);
                }})();
            }})"""
        )

    def complaints(self):
        """What its console and log say is wrong."""
        named = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [event for event in self.events if event.get("method") in named]

    def requested(self):
        """Addresses that were asked for."""
        sent = [
            event for event in self.events if event.get("method") == "Network.requestWillBeSent"
        ]
        return [event["params"]["request"]["url"] for event in sent]


@contextlib.contextmanager
def browser(folder):
    """A Browser whose profile is in a folder."""
    to_browser, writing = os.pipe()
    reading, from_browser = os.pipe()
    # The pipe is at the descriptors 3 and 4, where the shell puts it.
    script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
    command = [PROGRAM, *flags, f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(
        ["bash", "-c", script, "bash", *command],
        pass_fds=(to_browser, from_browser),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(to_browser)
        os.close(from_browser)
        with open(reading, "rb") as reading, open(writing, "wb") as writing:
            yield Browser(reading, writing)
            process.terminate()
