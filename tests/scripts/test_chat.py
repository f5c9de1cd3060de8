import contextlib
import fcntl
import io
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import chat
import pytest

from trainers.description import Description
from trainers.pipeline import pipeline

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}", "TERM": "dumb"}


class Parrot:
    """In the place of a pipeline: says what it is told, word by word."""

    def __init__(self, layout="language_modelling", room=1000, seconds=0.0, text="{} !"):
        description = Description(layout, max_length=room)
        self.talks = layout == "language_modelling"
        self.export = SimpleNamespace(description=description, fits=self.fits)
        self.room = room
        self.seconds = seconds
        self.text = text
        self.prompts = []

    def fits(self, prompt, max_new_tokens):
        return len(prompt) + max_new_tokens <= self.room

    def stream(self, prompt, **options):
        self.prompts.append(prompt)
        last = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        for word in self.text.format(last).split(" "):
            time.sleep(self.seconds)
            yield f" {word}"


@pytest.fixture
def talk(monkeypatch, capsys):
    """What is written, and what the program says beside it, when lines come in a pipe."""

    def talk(parrot, *lines, **options):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        chat.Chat(parrot, **{"max_new_tokens": 10, **options}).run()
        return capsys.readouterr()

    return talk


def said(prompt):
    return [message["content"] for message in prompt]


def test_answers_go_on_from_what_was_said_before(talk):
    parrot = Parrot()
    assert talk(parrot, "a", "", "b", system="be brief") == ("a !\nb !\n", "")
    assert said(parrot.prompts[1]) == ["be brief", "a", "a !", "b"]
    roles = [message["role"] for message in parrot.prompts[1]]
    assert roles == ["system", "user", "assistant", "user"]


def test_commands_change_the_conversation_and_are_not_told_to_the_model(talk):
    parrot = Parrot()
    lines = ["a", "/reset", "/system short words", "b", "/system", "c", "/hlep", "/help", "/quit"]
    written, beside = talk(parrot, *lines, "d")
    assert written == "a !\nb !\nc !\n"
    assert [said(prompt) for prompt in parrot.prompts] == [
        ["a"],
        ["short words", "b"],
        ["b", "b !", "c"],
    ]
    assert "no command /hlep" in beside and "/system TEXT" in beside


def test_the_oldest_turns_are_left_out_where_the_context_ends_and_it_is_said_once(talk):
    parrot = Parrot(room=70)
    _, beside = talk(parrot, *"abcd")
    assert [said(prompt) for prompt in parrot.prompts][2:] == [
        ["b", "b !", "c"],
        ["c", "c !", "d"],
    ]
    assert beside.count("its end alone") == 1
    _, beside = talk(parrot, "e" * 100)
    assert said(parrot.prompts[-1]) == ["e" * 100]
    assert "its end alone" in beside


def test_a_model_that_answers_texts_gets_each_line_by_itself(talk):
    parrot = Parrot("text_to_text")
    written, beside = talk(parrot, "a", "/system b", "c", system="d")
    assert written == "a !\nc !\n" and parrot.prompts == ["a", "c"]
    assert beside.count("reads no system message") == 2


def test_an_answer_without_text_is_no_turn(talk):
    parrot = Parrot(text="")
    assert talk(parrot, "a", "b").out == "\n\n"
    assert said(parrot.prompts[1]) == ["b"]


def test_an_export_answers_what_comes_in_a_pipe(exports):
    options = {"max_new_tokens": 4, "temperature": 0.0}
    flags = [f"--{name}={value}" for name, value in options.items()]
    ran = subprocess.run(
        [sys.executable, str(ROOT / "scripts/chat.py"), f"--model={exports['decoder_lm']}", *flags],
        input=b"a\n/help\nb\n",
        capture_output=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answer = pipeline("text-generation", model=exports["decoder_lm"], **options)
    messages, expected = [], ""
    for line in "ab":
        messages = answer([*messages, {"role": "user", "content": line}])[0]["generated_text"]
        pieces = "".join(answer.stream(messages[:-1]))
        expected += pieces.lstrip() + "\n"
    assert ran.stdout.decode() == expected
    assert "Ctrl-D" in ran.stderr.decode() and ">" not in expected


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--model=/none"], "/none: there is no such folder"),
        (["--model=/none", "hello"], "unknown argument 'hello'"),
    ],
)
def test_errors_are_a_sentence(flags, message):
    command = [sys.executable, str(ROOT / "scripts/chat.py"), *flags]
    ran = subprocess.run(command, capture_output=True, env=ENVIRONMENT, check=False)
    assert ran.returncode and message in (ran.stdout + ran.stderr).decode()


@pytest.fixture
def terminal():
    """A conversation with a slow Parrot under a pseudo-terminal."""
    ours, theirs = pty.openpty()
    program = "import chat; from tests.scripts.test_chat import Parrot; chat.Chat({}).run()"
    text = "one two \x1b[2J three" + " more" * 1000
    process = subprocess.Popen(
        [sys.executable, "-c", program.format(f"Parrot(seconds=0.02, text={text!r})")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=take_terminal,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    os.close(theirs)
    yield Terminal(ours, process)
    process.kill()
    process.wait()
    os.close(ours)


def take_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # A shell's background jobs, such as these tests may be, begin with interrupts ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    def __init__(self, descriptor, process):
        self.descriptor = descriptor
        self.process = process

    def type(self, keys):
        os.write(self.descriptor, keys)

    def wait_for(self, text, quiet=False):
        """All that is shown until `text` is; with `quiet`, and then nothing for a while."""
        shown, deadline = b"", time.monotonic() + 180
        with contextlib.suppress(OSError):  # the other end is closed
            while time.monotonic() < deadline and (quiet or text not in shown):
                if select.select([self.descriptor], [], [], 0.5)[0]:
                    shown += os.read(self.descriptor, 1 << 10)
                elif text in shown:
                    break
        assert text in shown, shown
        return shown

    def wait_for_prompt(self):
        # Keys typed before an interrupt is dealt with are thrown away by the terminal.
        return self.wait_for(b"> ", quiet=True)


def test_control_c_stops_an_answer_or_a_line_and_control_d_leaves(terminal):
    terminal.wait_for_prompt()
    terminal.type(b"hello\n")
    shown = terminal.wait_for(b"more more")
    assert b"\x1b[2J" not in shown  # nothing that a model writes may clear the screen
    terminal.type(b"\x03")
    terminal.wait_for_prompt()
    terminal.type(b"half a line\x03")
    terminal.wait_for_prompt()
    terminal.type(b"again\n")
    terminal.wait_for(b"three")
    terminal.type(b"\x03")
    terminal.wait_for_prompt()
    assert terminal.process.poll() is None
    terminal.type(b"\x04")
    assert terminal.process.wait(30) == 0
