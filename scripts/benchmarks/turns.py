"""Two sides of a measurement in turns, each in a process of its own, so that both see the same machine.

A side is a program that prints "ready" once it is warm, and then, for each line "SECONDS" on
its standard input, works for so long and prints what it reached.
"""

import contextlib
import statistics
import subprocess
import sys
import time

THREADS = 2


def serve(step, tokens):
    """The side of a program that steps: answers with tokens a second, the median of its steps."""
    for _ in range(3):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        print(tokens / steps_median(step, float(line)), flush=True)


def steps_median(step, seconds):
    """Seconds of a step: the median of those that fit into `seconds`, at least two."""
    taken, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(taken) < 2:
        begin = time.perf_counter()
        step()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def seconds_of_a_step(step):
    step()
    return steps_median(step, 1.0)


class Side:
    def __init__(self, command, environment=None):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.note = ""  # the last line before it was ready

    def wait_until_ready(self):
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
            self.note = line.strip()
        raise SystemExit(f"{' '.join(self.process.args)}: ended with {self.process.wait()}")

    def measure(self, seconds):
        print(seconds, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def started(commands):
    """A Side of each command, warmed up one after another, for that is work too."""
    sides = []
    try:
        for command in commands:
            sides.append(Side(command))
            sides[-1].wait_until_ready()
        yield sides
    finally:
        for side in sides:
            side.close()


def alternate(commands, repeats, seconds):
    """Figures of each command in turns: a list of `repeats` for each."""
    with started(commands) as sides:
        return turns_of(sides, repeats, seconds)


def turns_of(sides, repeats, seconds):
    figures = [[side.measure(seconds) for side in sides] for _ in range(repeats)]
    return list(zip(*figures, strict=True))
