import io
import os
import subprocess
import sys
import time

import pytest

from trainers.settings import ROOT

BENCHMARKS = os.path.join(ROOT, "scripts", "benchmarks")
sys.path.insert(0, BENCHMARKS)  # as scripts/benchmark.py does

import beam  # noqa: E402 - found in the folder above
import command_line  # noqa: E402
import decode  # noqa: E402
import positions  # noqa: E402
import store  # noqa: E402
import turns  # noqa: E402


def benchmark(*arguments):
    return subprocess.run(
        [sys.executable, "scripts/benchmark.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_work_that_does_not_exist_is_refused_by_name():
    done = benchmark("--only=help,helps")
    assert done.returncode
    assert "--only: 'helps' is none of train_step, store, help" in done.stdout + done.stderr


def test_without_torch_it_says_what_to_install():
    done = benchmark("--only=train_step", "--peer_python=/bin/false")
    assert done.returncode
    assert "pip install -e '.[benchmark]'" in done.stdout + done.stderr


def test_help_is_a_row_of_the_table():
    done = benchmark("--only=help", "--repeats=1")
    assert not done.returncode, done.stderr
    assert done.stdout.splitlines()[-1].startswith("| help | 0.")


def test_store_is_read_from_a_far_step(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SECONDS", 0.2)
    store.write_store(tmp_path, 100_000)
    found = store.measure(tmp_path, batch_size=4, length=32)
    assert found["tokens_per_second"] > 0
    assert found["first_batch_seconds"] > 0


def test_sides_take_turns(tmp_path):
    side = tmp_path / "side.py"
    side.write_text("import sys, turns\nturns.serve(lambda: None, int(sys.argv[1]))\n")
    command = ["env", f"PYTHONPATH={BENCHMARKS}", sys.executable, str(side)]
    first, second = turns.alternate([[*command, "10"], [*command, "20"]], repeats=3, seconds=0.01)
    assert len(first) == len(second) == 3
    assert min(*first, *second) > 0


def test_a_run_that_ends_too_early_says_what_it_printed():
    with pytest.raises(SystemExit, match="did not get there:\nerror: "):
        command_line.seconds_until("configs/recipes/none.gin", [], lambda record: True)


def test_both_sides_translate_the_same_tokens_the_shortest_first(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("a man sleeps\na dog\n" * beam.SENTENCES)
    for sources in (beam.read_sources(), beam.read_sources(path)):
        assert len(sources) == beam.SENTENCES
        assert [len(source) for source in sources] == sorted(map(len, sources))
        assert all(source[-1] == beam.EOS and all(source[:-1]) for source in sources)
        assert max(map(max, sources)) < beam.VOCABULARY_SIZE
    assert sources[0][0] == sources[-1][0]  # the same word


def test_too_few_lines_are_refused(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("a\n")
    with pytest.raises(SystemExit, match="1 lines are fewer than 1000"):
        beam.read_sources(path)


def test_a_side_of_beam_works_in_its_fastest_way_and_refuses_texts_of_other_lengths(
    monkeypatch, capsys
):
    def way(seconds, tokens):
        def make(sources):
            return lambda: time.sleep(seconds) or [tokens] * len(sources)

        return make

    monkeypatch.setattr(sys, "stdin", io.StringIO("0.01\n"))
    sources = beam.read_sources()
    beam.serve(sources, {"slow": way(0.1, 16), "fast": way(0.001, 16)})
    assert capsys.readouterr().out.split()[:2] == ["fast", "ready"]
    with pytest.raises(SystemExit, match="translations of .15. tokens"):
        beam.serve(sources, {"short": way(0, 15)})


def test_positions_compare_what_is_read_beyond_the_first_with_the_first():
    read = {n: positions.weights_bytes() + positions.cache_bytes(n) for n in positions.LENGTHS}
    first, *rest = positions.compared({n: [bytes_ / 1e10] for n, bytes_ in read.items()})
    assert first[3] == "10.0 GB/s"
    assert all(row[3] == "10.0 GB/s for what is more, 1.00 of the first" for row in rest)


def test_every_work_of_decode_has_a_peer():
    for work in decode.WORKS.values():
        assert os.path.exists(os.path.join(BENCHMARKS, work.peer))
