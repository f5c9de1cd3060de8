import subprocess
import sys

from trainers.settings import ROOT


def test_what_is_neither_a_checkpoint_nor_a_model_dir_is_one_clear_line(tmp_path):
    for source in (tmp_path, tmp_path / "none"):
        done = subprocess.run(
            [sys.executable, "scripts/convert.py", str(source), str(tmp_path / "out")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr == (
            f"{source}: is neither a checkpoint, with a config.json, nor a model_dir, with a "
            "config.gin\n"
        )
    assert not list(tmp_path.iterdir())
