import os
import subprocess
import sys

from trainers.startup import filtered_stderr


def run(script):
    script = "from trainers import startup; startup.import_tensorflow()\n" + script
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )


def test_tensorflow_loads_without_chatter():
    process = run("import sys; print('x', file=sys.stderr)")
    assert process.stderr == "x\n"


def test_notes_are_held_back_and_warnings_are_not(capfd):
    with filtered_stderr():
        os.write(2, b"I0000 00:00 a note\nnormalizer.cc(51) LOG(INFO) another\nW0000 a warning\n")
    assert capfd.readouterr().err == "W0000 a warning\n"


def test_freed_memory_is_used_again_without_asking_the_system():
    process = run("""
import resource
import tensorflow as tf

def page_faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        tf.fill([4 << 20], 1.0)  # 16 MiB, 4,096 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

page_faults(2)
print(page_faults(20))
""")
    assert int(process.stdout) < 4096
