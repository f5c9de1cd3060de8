"""Learns the tokenizer and makes the token stores that training reads:

python scripts/prepare_data.py --gin_file=configs/recipes/quickstart.gin --model_dir=runs/quickstart

Short for python -m trainers.run --mode=prepare, whose other flags it takes as well.
"""

import runpy
import sys

if __name__ == "__main__":
    sys.argv.insert(1, "--mode=prepare")
    runpy.run_module("trainers.run", run_name="__main__", alter_sys=True)
