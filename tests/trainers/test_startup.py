import subprocess
import sys


def run(script):
    script = "from trainers import startup; startup.import_tensorflow()\n" + script
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )


def test_tensorflow_loads_without_chatter():
    process = run("import sys; print('x', file=sys.stderr)")
    assert process.stderr == "x\n"


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
