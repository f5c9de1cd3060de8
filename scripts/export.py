"""Exports a trained model: python scripts/export.py --model_dir=runs/quickstart

Short for python -m trainers.run --mode=export, whose other flags it takes as well.
"""

import runpy
import sys

if __name__ == "__main__":
    sys.argv.insert(1, "--mode=export")
    runpy.run_module("trainers.run", run_name="__main__", alter_sys=True)
