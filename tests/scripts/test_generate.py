import contextlib
import json
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from trainers.pipeline import pipeline

ROOT = Path(__file__).parents[2]
OPTIONS = {"max_new_tokens": 8, "temperature": 1.0, "seed": 3, "top_k": 0}
FLAGS = [f"--{name}={value}" for name, value in OPTIONS.items()]


@pytest.fixture(scope="module")
def model_dir(exports):
    return os.path.dirname(exports["encoder_decoder"])


@pytest.fixture(scope="module")
def answer(model_dir):
    return pipeline("text2text-generation", model=model_dir)


def run(*arguments, stdin=b"", **more):
    """Output and, where it fails, what a user reads on the screen."""
    command = [sys.executable, str(ROOT / "scripts" / "generate.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        command, **{"input": stdin, "capture_output": True, **more}, env=environment, check=False
    )
    if ran.returncode:
        return None, ran.stderr.decode()
    return ran.stdout.decode(), ""


def shown(terminal):
    """All that a pseudo-terminal was told, whose other end is closed."""
    text = b""
    with contextlib.suppress(OSError):
        while True:
            text += os.read(terminal, 1 << 16)
    os.close(terminal)
    return text


def test_answers_stand_a_line_each_as_their_prompts_did(model_dir, answer):
    expected = [one["generated_text"] for one in answer(["hello", "", "you"], **OPTIONS)]
    printed, error = run(f"--model={model_dir}", *FLAGS, stdin=b"hello\n\nyou\n")
    assert printed == "\n".join(expected) + "\n", error


def test_a_file_of_objects_is_answered_in_its_order_whatever_the_batches(
    model_dir, answer, tmp_path
):
    prompts = ["hello", "a longer prompt", "", "grüße"]
    lines = [json.dumps({"id": i, "text": prompt}) for i, prompt in enumerate(prompts)]
    (tmp_path / "in.jsonl").write_text("\n\n".join(lines))
    flags = [*FLAGS, "--num_return_sequences=2", "--batch_size=3", "--field=text"]
    output = tmp_path / "out.jsonl"
    _, error = run(
        f"--model={model_dir}", f"--input={tmp_path}/in.jsonl", f"--output={output}", *flags
    )
    assert not error
    written = [json.loads(line) for line in output.read_text().splitlines()]
    assert [one["prompt"] for one in written] == prompts
    expected = dict(answer.generate(prompts, **OPTIONS, num_return_sequences=2))
    for i, one in enumerate(written):
        assert one["texts"] == [each.text for each in expected[i]]
        likelihoods = [each.log_probability for each in expected[i]]
        assert one["log_probabilities"] == pytest.approx(likelihoods, rel=1e-4)
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl"]


@pytest.mark.slow
def test_a_file_of_lines_gets_lines_found_by_beams_and_a_terminal_sees_a_bar(
    model_dir, answer, tmp_path
):
    (tmp_path / "in.txt").write_bytes(b"\xef\xbb\xbfhello\r\nyou\n")
    output = tmp_path / "out.txt"
    output.write_text("older")
    terminal, screen = pty.openpty()
    termios.tcsetwinsize(screen, (24, 80))
    flags = ["--max_new_tokens=8", "--num_beams=3", "--early_stopping=never"]
    run(
        f"--model={model_dir}",
        f"--input={tmp_path}/in.txt",
        f"--output={output}",
        *flags,
        stderr=screen,
        stdout=subprocess.PIPE,
        capture_output=False,
    )
    os.close(screen)
    assert b"2/2" in shown(terminal)
    beams = {"max_new_tokens": 8, "num_beams": 3, "early_stopping": "never"}
    expected = [one["generated_text"] for one in answer(["hello", "you"], **beams)]
    assert output.read_text() == "".join(" ".join(text.splitlines()) + "\n" for text in expected)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("in.txt", b"good\nb\xffd\n", "in.txt:2: byte 0xff is not UTF-8"),
        ("in.jsonl", b'{"prompt": "a"}\n{"prompt": \n', "in.jsonl:2: not JSON"),
        ("in.jsonl", b'["a"]\n', "in.jsonl:1: '[\"a\"]' is no JSON object"),
        ("in.jsonl", b'\n{"text": "a"}\n', "in.jsonl:2: no field 'prompt'; the fields are: text"),
        ("in.jsonl", b'{"prompt": 3}\n', "in.jsonl:1: the field 'prompt' is no string but 3"),
        ("in.jsonl", b'{"prompt": "\\ud800"}\n', "in.jsonl:1: the field 'prompt' has half"),
        ("other.txt", b"", "No such file or directory: "),
    ],
)
def test_what_is_wrong_with_an_input_is_one_line_that_names_its_line(
    model_dir, tmp_path, name, text, message
):
    (tmp_path / name).write_bytes(text)
    asked = "in.txt" if name == "other.txt" else name
    output = tmp_path / "out.txt"
    output.write_text("older")
    _, error = run(f"--model={model_dir}", f"--input={tmp_path / asked}", f"--output={output}")
    assert message in error and error.count("\n") == 1
    assert output.read_text() == "older"


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--model={empty}"], "--mode=export"),
        (["--num_beams=2", "--temperature=1"], "beam search takes no temperature"),
        (["--output=/dev/null"], "/dev/null: is no file"),
        (["--output={empty}/none/out.txt"], "No such file or directory"),
    ],
)
def test_errors_are_one_line(model_dir, tmp_path, flags, message):
    flags = [flag.format(empty=tmp_path) for flag in flags]
    _, error = run(f"--model={model_dir}", "--prompt=a", *flags)
    assert error.count("\n") == 1
    assert message in error
