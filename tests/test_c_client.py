"""docs/deploy/complete.c, built and run as docs/deploy.md says."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

from tests.trainers.tiny import FAMILIES, one_quick
from trainers.data import tokenizers
from trainers.settings import ROOT
from trainers.text_model import TextModel
from zoo import DecoderLM

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler: there is no cc")


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """Runs the command lines of docs/deploy.md for an export, in a folder of their own."""
    folder = tmp_path_factory.mktemp("c_client")
    os.symlink(os.path.join(ROOT, "docs"), folder / "docs")
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    with open(folder / "docs" / "deploy.md", encoding="utf-8") as file:
        build, run_with_library = re.findall(r"```bash\n(TF=.*?|TEXT=.*?)```", file.read(), re.S)
    build, run = build.rsplit("\n./complete", 1)
    run = "./complete" + run

    def shell(commands):
        environment = {**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
        return subprocess.run(
            ["bash", "-ec", commands], cwd=folder, env=environment, capture_output=True, check=False
        )

    built = shell(build.replace("cc ", "cc -Wall -Wextra -Werror ", 1))
    assert built.returncode == 0, built.stderr.decode()

    def complete(export, with_library=False):
        """(exit status, standard output, standard error)"""
        commands = run_with_library if with_library else run
        done = shell(commands.replace("runs/mine/export", export))
        return done.returncode, done.stdout, done.stderr.decode()

    return complete


@pytest.mark.parametrize("name", one_quick(FAMILIES))
def test_the_c_program_prints_what_python_gets(complete, exports, name):
    status, text, error = complete(exports[name])
    assert status == 0, error
    loaded = tf.saved_model.load(exports[name])
    expected = loaded.generate(["Once upon"], max_new_tokens=60)["text"][0, 0].numpy()
    assert text == expected != b""


def save_complete(text_model, folder):
    """An export of one signature, for the time that the others take to trace."""
    module = tf.Module()
    module.weights, module.tokenizer = text_model.weights, text_model.tokenizer
    module.complete = text_model.complete
    tf.saved_model.save(module, folder, signatures={"complete": module.complete})


@pytest.mark.slow
def test_sentencepiece_needs_its_library_and_bpe_does_not(complete, tmp_path):
    texts = ["Once upon a time there were 17 foxes. " * 9, "abcdefghijklmnopqrstuvwxyz"]
    for kind, with_library in (("bpe", False), ("unigram", True)):
        tokenizer = tokenizers.train_tokenizer(kind, iter(texts), 290)
        model = DecoderLM(tokenizer.vocabulary_size, num_layers=1, width=16)
        folder = str(tmp_path / kind)
        save_complete(TextModel(model, tokenizer, "language_modelling", 64), folder)
        status, text, error = complete(folder, with_library)
        assert status == 0, error
        loaded = tf.saved_model.load(folder)
        assert text == loaded.complete(["Once upon"], max_new_tokens=60)["text"][0]
    status, _, error = complete(folder, with_library=False)
    assert status == 1
    assert "SentencepieceOp" in error


def test_an_export_that_is_not_there_is_said(complete, tmp_path):
    status, text, error = complete(str(tmp_path / "nowhere"))
    assert (status, text) == (1, b"")
    assert f"{tmp_path}/nowhere: Could not find SavedModel" in error
