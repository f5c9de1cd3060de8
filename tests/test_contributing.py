"""What CONTRIBUTING.md shows works as it stands."""

import re
from pathlib import Path

import pytest

from tests.end_to_end.recipes import command, metrics_of
from trainers.settings import ROOT

BLOCK = re.compile(r"```python\n# (\w+\.py)\n(.*?)```\n+```gin\n(.*?)```", re.S)
EXAMPLES = BLOCK.findall(Path(ROOT, "CONTRIBUTING.md").read_text(encoding="utf-8"))
QUICK = """
STEPS = 4
EVAL_EVERY = 2
BATCH_SIZE = 2
SEQUENCE_LENGTH = 32
train.xla = False
"""


def test_there_are_examples_of_a_model_a_task_and_a_callback():
    assert [name for name, _, _ in EXAMPLES] == ["my_model.py", "my_task.py", "my_callback.py"]


@pytest.mark.slow
@pytest.mark.parametrize("name, module, recipe", EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_an_example_works_as_it_stands(name, module, recipe, tmp_path, monkeypatch):
    (tmp_path / name).write_text(module)
    (tmp_path / "x.gin").write_text(recipe + QUICK)
    (tmp_path / "a.txt").write_text("some words of a text, and a few more of them\n" * 40)
    monkeypatch.syspath_prepend(str(tmp_path))
    flags = [f"--gin_file={tmp_path}/x.gin", f"--model_dir={tmp_path}/run"]
    if "lm_files" in recipe:
        flags.append(f"--gin_param=TRAIN_FILES = '{tmp_path}/a.txt'")
    status, out, err = command(*flags)
    assert status == 0, err
    assert metrics_of(tmp_path / "run", "validation")
    assert (tmp_path / "run" / "export" / "saved_model.pb").exists()
    assert ("LOW!" in out) == (name == "my_callback.py")
