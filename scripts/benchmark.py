"""What the project promises in speed, measured beside its peers, as a Markdown table.

python scripts/benchmark.py --only=train_step,store --repeats=5
python scripts/benchmark.py --only=shakespeare --shakespeare=/path/to/input.txt

Works, of which --only takes names or their beginnings:
  train_step   a train step against the same model in eager PyTorch, in bfloat16 by autocast or
               as a whole, whichever is faster; "train_step gpt2", "train_step lstm" for a part
  store        batches from a store of 2e8 tokens
  memory       peak memory and time of a train step: the loss in chunks against all logits at
               once, blocks recomputed against kept; the peer's column has the other way
  estimate     peak memory of train steps; the peer's column has what was said before
  help         the command line's help
  startup      the quickstart, from its start to its first trained step
  checkpoint   saving a model of 124 million parameters, against writing as many bytes
  fine_tuning  a step of a pretrained GPT-2 against Transformers on PyTorch; memory of low-rank
               updates; loading a checkpoint
  workers      two workers on half the cores each, against one process on all of them
  decode       tokens drawn and read by GPT-2's shape, against Transformers' on PyTorch and
               keras-hub's; "decode keras-hub" for a part
  positions    a token of that shape at a cache of 128 to 4096, against what must be read for it
  beam         translation by a beam of 4, against Transformers' Marian and CTranslate2
  serving      16 streaming clients, against one request at a time; needs the extra `serve`
  shakespeare  a whole run until a validation loss, against nanoGPT's recipe in PyTorch

Ours and the peer run in turns, in processes of their own with two threads each. Figures are
medians of the repeats, with their least and greatest.
"""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

from absl import app, flags

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "benchmarks")
sys.path.insert(0, HERE)

import beam  # noqa: E402 - found in the folder above
import command_line  # noqa: E402
import decode  # noqa: E402
import fine_tuning  # noqa: E402
import memory  # noqa: E402
import memory_estimates  # noqa: E402
import positions  # noqa: E402
from shapes import train_step_works  # noqa: E402
from turns import alternate  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_list("only", ["train_step", "store", "help", "startup"], "Works to measure.")
flags.DEFINE_integer("repeats", 5, "Turns of each side.", lower_bound=1)
flags.DEFINE_float("seconds", 4.0, "Length of a turn of train_step.", lower_bound=0.1)
flags.DEFINE_string("peer_python", sys.executable, "A Python that has torch (extra `benchmark`).")
flags.DEFINE_string("lines", None, "A text, 1000 lines of which `beam` translates.")
flags.DEFINE_string("shakespeare", None, "Path of Tiny Shakespeare, input.txt.")
flags.DEFINE_integer("shakespeare_steps", 145, "Steps of our run.", lower_bound=1)
# More than the recipe's 12: fewer steps get there, and Muon's own time a step stays the same.
flags.DEFINE_integer("shakespeare_batch_size", 16, "Rows of a step of our run.", lower_bound=1)

SHAKESPEARE_LOSS = 1.88
PEERS = ("train_step", "fine_tuning", "decode", "beam", "shakespeare")


def wanted(work):
    return any(work.startswith(name) for name in FLAGS.only)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    works = [*MEASURED, *(f"train_step {work.name}" for work in train_step_works())]
    works += decode.WORKS
    for name in FLAGS.only:
        if not any(work.startswith(name) for work in works):
            raise app.UsageError(f"--only: {name!r} is none of {', '.join(MEASURED)}")
    print(f"{machine()}\n")
    print("| work | ours | peer | ratio | to reach |")
    print("|---|---|---|---|---|", flush=True)
    for name, rows in MEASURED.items():
        if any(work.startswith(name) and wanted(work) for work in works):
            for cells in rows():
                print(f"| {' | '.join(cells)} |", flush=True)


def train_step_rows():
    for work in train_step_works():
        name = f"train_step {work.name}"
        if wanted(name):
            commands = [
                [sys.executable, os.path.join(HERE, "train_step_ours.py"), work.name],
                [FLAGS.peer_python, os.path.join(HERE, "train_step_torch.py"), work.name],
            ]
            ours, peer = alternate(commands, FLAGS.repeats, FLAGS.seconds)
            ratio = f"{statistics.median(ours) / statistics.median(peer):.2f}"
            yield name, tokens(ours), tokens(peer), ratio, f">= {work.to_reach:.1f} x"


def store_rows():
    command = [sys.executable, os.path.join(HERE, "store.py")]
    found = [json.loads(subprocess.check_output(command)) for _ in range(FLAGS.repeats)]
    speed, first, growth = (
        [each[name] for each in found]
        for name in ("tokens_per_second", "first_batch_seconds", "memory_growth_bytes")
    )
    yield "store: reading", tokens(speed), "", "", ">= 10,000,000 tokens/s"
    yield "store: first batch at step 1e6", command_line.median_of(first), "", "", "< 1 s"
    yield "store: memory's growth while reading", f"{max(growth) / 1e6:.1f} MB", "", "", "none"


def memory_rows():
    yield from memory.rows(FLAGS.repeats, FLAGS.seconds)


def estimate_rows():
    yield from memory_estimates.rows()


def help_rows():
    yield "help", command_line.median_of(command_line.help_seconds(FLAGS.repeats)), "", "", "<= 1 s"


def startup_rows():
    anew, again = command_line.startup_seconds(FLAGS.repeats)
    yield "startup, data prepared", command_line.median_of(again), "", "", "<= 15 s"
    yield "startup, tokenizer and store made too", f"{anew:.2f} s", "", "", ""


def checkpoint_rows():
    found = figures_of("checkpoint.py", tempfile.gettempdir())
    yield (
        f"checkpoint, {found['bytes'] / 1e9:.2f} GB",
        f"{found['save']:.2f} s",
        f"{found['disk']:.2f} s, the disk alone",
        f"{found['save'] / found['disk']:.2f}",
        "<= 1.20",
    )
    yield (
        "checkpoint, training waits",
        f"{found['blocks']:.2f} s",
        "",
        "",
        "<= 1.20 s, 2 % of a minute",
    )


def workers_rows():
    found = figures_of("workers.py")
    beyond = (found["two"] - found["all_reduce"]) / found["one"]
    yield (
        "workers: a step of gpt2 6x384 B8 T256",
        f"{found['two']:.2f} s, of which all-reduce {found['all_reduce']:.2f} s",
        f"{found['one']:.2f} s",
        f"{beyond:.2f} without it",
        "<= 1.10",
    )


def fine_tuning_rows():
    yield from fine_tuning.rows(FLAGS.peer_python, FLAGS.repeats, FLAGS.seconds)


def decode_rows():
    for work, ours, peer, ratio, to_reach in decode.rows(
        FLAGS.peer_python, FLAGS.repeats, FLAGS.seconds, wanted
    ):
        yield work, *(tokens(side) if side else "" for side in (ours, peer)), ratio, to_reach


def positions_rows():
    for work, taken, read, ratio, to_reach in positions.rows(FLAGS.repeats, FLAGS.seconds):
        milliseconds = [1000 * each for each in taken]
        yield work, figure(milliseconds, "ms", ".1f"), read, ratio, to_reach


def beam_rows():
    for work, *sides, ratio, to_reach in beam.rows(
        FLAGS.peer_python, FLAGS.repeats, FLAGS.seconds, FLAGS.lines
    ):
        cells = (f"{figure(found, 'sentences/s')}, {chosen}" for found, chosen in sides)
        yield work, *cells, ratio, to_reach


SERVING = {  # kinds of clients, see benchmarks/serving.py
    "alone": "one client",
    "at once": "16 clients at once",
    "in turn": "16 clients in turn",
}


def serving_rows():
    found = figures_of("serving.py")
    alone, first = found.pop("export")
    together, _ = found.pop("together")
    yield (
        "serving gpt2 12x768 V257: the export, 16 prompts at once",
        f"{together:,.0f} tokens/s",
        f"{alone:,.0f} tokens/s, the export alone",
        f"{together / alone:.2f}",
        "",
    )
    for kind, (speed, _) in found.items():
        yield (
            f"serving gpt2 12x768 V257, {SERVING[kind]}",
            f"{speed:,.0f} tokens/s",
            f"{alone:,.0f} tokens/s, the export alone",
            f"{speed / alone:.2f}",
            ">= 4.0 x" if kind != "alone" else "",
        )
    for kind, (_, seconds) in found.items():
        yield (
            f"serving: until the first text, {SERVING[kind]}",
            f"{seconds * 1000:,.0f} ms",
            f"{first * 1000:,.0f} ms, the export alone",
            f"{seconds / first:.2f}; {seconds / found['alone'][1]:.2f} of a lone request's",
            "< 2.0" if kind != "alone" else "",
        )


def figures_of(script, *arguments):
    return json.loads(
        subprocess.check_output([sys.executable, os.path.join(HERE, script), *arguments])
    )


def shakespeare_rows():
    if not FLAGS.shakespeare:
        raise app.UsageError("the work `shakespeare` needs --shakespeare=/path/to/input.txt")
    path = os.path.abspath(FLAGS.shakespeare)
    turns = [
        (
            command_line.shakespeare_seconds(
                path, SHAKESPEARE_LOSS, FLAGS.shakespeare_steps, FLAGS.shakespeare_batch_size
            ),
            command_line.peer_shakespeare_seconds(FLAGS.peer_python, path),
        )
        for _ in range(FLAGS.repeats)
    ]
    ours, peers = zip(*turns, strict=True)
    (our_seconds, our_losses), (peer_seconds, peer_losses) = (
        zip(*side, strict=True) for side in (ours, peers)
    )
    ratio = statistics.median(peer_seconds) / statistics.median(our_seconds)
    yield (
        f"shakespeare until {SHAKESPEARE_LOSS} nats a character",
        f"{command_line.median_of(our_seconds)}, loss {max(our_losses):.3f}",
        f"{command_line.median_of(peer_seconds)}, loss {min(peer_losses):.3f}",
        f"{ratio:.2f}",
        ">= 4.0 x",
    )


MEASURED = {
    "train_step": train_step_rows,
    "store": store_rows,
    "help": help_rows,
    "startup": startup_rows,
    "memory": memory_rows,
    "estimate": estimate_rows,
    "checkpoint": checkpoint_rows,
    "workers": workers_rows,
    "fine_tuning": fine_tuning_rows,
    "decode": decode_rows,
    "positions": positions_rows,
    "beam": beam_rows,
    "serving": serving_rows,
    "shakespeare": shakespeare_rows,
}


def tokens(figures):
    return figure(figures, "tokens/s")


def figure(figures, unit, places=",.0f"):
    middle, least, greatest = (
        format(each, places) for each in (statistics.median(figures), min(figures), max(figures))
    )
    return f"{middle} {unit} ({least} to {greatest})"


def machine():
    """The processor and the versions; asks for torch where a work needs it."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    parts = [
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores",
        f"Python {platform.python_version()}",
        *(f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "keras")),
    ]
    if any(name.startswith(peer) for name in FLAGS.only for peer in PEERS):
        asked = subprocess.run(
            [FLAGS.peer_python, "-c", "import torch; print(torch.__version__)"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        if asked.returncode:
            raise app.UsageError(
                f"{FLAGS.peer_python} has no torch, the peer of {' and '.join(PEERS)}: "
                "pip install -e '.[benchmark]', or name another Python with --peer_python"
            )
        parts.append(f"torch {asked.stdout.strip()}")
    return "; ".join(parts)


if __name__ == "__main__":
    app.run(main)
