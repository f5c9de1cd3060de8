"""Speed of a train step against the same model in PyTorch, in turns, as a Markdown table.

python scripts/benchmark.py --only=gpt2 --repeats=5

Ours and the peer run in processes of their own with two threads each, one while the other waits.
Figures are medians of the repeats, with their least and greatest; the peer is eager PyTorch, in
bfloat16 by autocast or as a whole, whichever is faster.
"""

import os
import platform
import statistics
import sys

from absl import app, flags

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "benchmarks")
sys.path.insert(0, HERE)

from shapes import train_step_works  # noqa: E402 - found in the folder above
from turns import alternate  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "only", "", "Only the works whose name has this in it, as gpt2, lstm, bfloat16."
)
flags.DEFINE_integer("repeats", 5, "Turns of each side.", lower_bound=1)
flags.DEFINE_float("seconds", 4.0, "Length of a turn.", lower_bound=0.1)
flags.DEFINE_string("peer_python", sys.executable, "A Python that has torch (extra `benchmark`).")


def main(argv):
    del argv
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| train step | ours, tokens/s | PyTorch, tokens/s | ratio | to reach |")
    print("|---|---|---|---|---|", flush=True)
    for work in train_step_works():
        if FLAGS.only not in work.name:
            continue
        commands = [
            [sys.executable, os.path.join(HERE, "train_step_ours.py"), work.name],
            [FLAGS.peer_python, os.path.join(HERE, "train_step_torch.py"), work.name],
        ]
        ours, peer = alternate(commands, FLAGS.repeats, FLAGS.seconds)
        ratio = statistics.median(ours) / statistics.median(peer)
        cells = [work.name, shown(ours), shown(peer), f"{ratio:.2f}", f"{work.to_reach:.1f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def shown(figures):
    return f"{statistics.median(figures):,.0f} ({min(figures):,.0f} to {max(figures):,.0f})"


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    app.run(main)
