import subprocess
import sys

from trainers.settings import ROOT


def test_without_the_harness_it_says_what_to_install():
    script = (
        "import runpy, sys; sys.modules['lm_eval'] = None; sys.path.insert(0, 'scripts'); "
        "runpy.run_path('scripts/evaluate.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--harness"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith("the harness needs: pip install -e '.[harness]'\n")
    assert done.stderr.count("\n") == 1
