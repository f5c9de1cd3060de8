"""Evaluates a trained model: python scripts/evaluate.py --model_dir=runs/quickstart --split=test

Short for python -m trainers.run --mode=evaluate, whose other flags it takes as well. With --harness
it runs tasks of EleutherAI's lm-evaluation-harness on an export instead:

python scripts/evaluate.py --harness --model=runs/quickstart --tasks=my_tasks/capitals.yaml
"""

import runpy
import sys

from absl import app

if __name__ == "__main__":
    if "--harness" in sys.argv:
        sys.argv.remove("--harness")
        try:
            import harness
        except ImportError as error:
            sys.exit(f"{error}; the harness needs: pip install -e '.[harness]'")
        harness.define_flags()
        app.run(harness.main)
    sys.argv.insert(1, "--mode=evaluate")
    runpy.run_module("trainers.run", run_name="__main__", alter_sys=True)
