import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainers.tiny import BytesTokenizer, family
from trainers.export import export_model
from trainers.pipeline import pipeline

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    model, layout = family("encoder_decoder")
    folder = tmp_path_factory.mktemp("model_dir")
    export_model(model, BytesTokenizer(), str(folder / "export"), layout, 64)
    return str(folder)


def run(*arguments, stdin=""):
    """Output and, where it fails, what a user reads on the screen."""
    command = [sys.executable, str(ROOT / "scripts" / "generate.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, input=stdin.encode(), capture_output=True, env=environment)
    if ran.returncode:
        return None, ran.stderr.decode()
    return ran.stdout.decode(), ""


def test_answers_stand_a_line_each_as_their_prompts_did(model_dir):
    options = {"max_new_tokens": 8, "temperature": 1.0, "seed": 3, "top_k": 0}
    flags = [f"--{name}={value}" for name, value in options.items()]
    answer = pipeline("text2text-generation", model=model_dir)
    expected = [one["generated_text"] for one in answer(["hello", "", "you"], **options)]
    printed, error = run(f"--model={model_dir}", *flags, stdin="hello\n\nyou\n")
    assert printed == "\n".join(expected) + "\n", error


def test_errors_are_one_line(tmp_path):
    _, error = run(f"--model={tmp_path}", "--prompt=a")
    assert error.count("\n") == 1
    assert "--mode=export" in error
