"""The page of a report, in a browser too, and what it is made of."""

import json
import re
import subprocess
import sys

import pytest
from reporting import page as writing
from reporting import runs as reading

from tests.scripts.browser import PROGRAM, browser
from trainers.errors import UserError
from trainers.settings import ROOT

CONFIG = """
STEPS = 40
Experiment.model = @DecoderLM
Experiment.batch_size = {batch_size}
train.steps = %STEPS
train.learning_rate = 0.1
"""


def make_run(folder, losses=(4.0, 3.0, 2.0, 2.5), batch_size=8, **more):
    folder.mkdir()
    (folder / "config.gin").write_text(CONFIG.format(batch_size=batch_size))
    lines = []
    for i, loss in enumerate(losses, 1):
        speed = {"tokens_per_second": 50.0 * i, "model_flops_per_second": 5e6 * i}
        train = {"step": 10 * i, "split": "train", "loss": loss + 0.5, "tokens": 100, **speed}
        lines.append({**train, "seconds": 3.0 * i})
        validation = {"step": 10 * i, "split": "validation", "loss": loss, "tokens": 7, **more}
        lines.append({**validation, "seconds": 3.0 * i + 1})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
    return str(folder)


def add_predictions(folder, step, text):
    predictions = folder / "predictions"
    predictions.mkdir(exist_ok=True)
    about = {"split": "validation", "step": step, "examples": 30, "signatures": {}, "figures": {}}
    (predictions / f"validation-{step}.json").write_text(json.dumps(about))
    line = {"inputs": "<b>in</b>", "references": ["one", "other"], "prediction": text}
    (predictions / f"validation-{step}.jsonl").write_text((json.dumps(line) + "\n") * 30)


def test_costs_are_the_sums_of_the_reports(tmp_path):
    run = reading.read(make_run(tmp_path / "run"))
    assert reading.cost(run) == {
        "steps": 40,
        "tokens": 400,
        "seconds": 13.0,
        "flops": 400 * 1e5,
        "tokens_per_second": 150.0,
    }


def test_a_result_has_its_last_value_and_its_best_by_the_way_that_is_better(tmp_path):
    path = make_run(tmp_path / "run", bleu=30.0)
    with open(f"{path}/metrics.jsonl", "a") as file:
        file.write('{"step": 50, "split": "validation", "bleu": 20.0, "accuracy": null}\n')
        file.write('{"step": 50, "split": "test", "bleu": 22.0}\n')
    assert reading.results(reading.read(path)) == {
        ("validation", "loss"): (2.5, 2.0, 30),
        ("validation", "bleu"): (20.0, 30.0, 10),
        ("test", "bleu"): (22.0, 22.0, 50),
    }


def test_curves_stand_against_steps_tokens_and_time(tmp_path):
    curves = reading.curves(reading.read(make_run(tmp_path / "run")))
    assert list(curves) == ["loss", "tokens_per_second"]
    assert curves["loss"]["validation"] == {
        "step": [10, 20, 30, 40],
        "tokens": [100, 200, 300, 400],
        "seconds": [4.0, 7.0, 10.0, 13.0],
        "value": [4.0, 3.0, 2.0, 2.5],
    }


def test_long_curves_are_thinned_and_keep_their_last_point(monkeypatch):
    monkeypatch.setattr(reading, "POINTS", 4)
    values = list(range(11))
    assert reading.thinned({"step": values, "value": values})["step"] == [1, 4, 7, 10]
    assert reading.thinned({"step": [1, 2], "value": [1, 2]})["step"] == [1, 2]


def test_differences_have_defaults_where_a_run_sets_nothing(tmp_path):
    one, other = make_run(tmp_path / "one"), make_run(tmp_path / "other", batch_size=16)
    with open(f"{other}/config.gin", "a") as file:
        file.write("train.accumulation = 2\n")
    runs = [reading.read(path) for path in (one, other)]
    assert reading.differences(runs) == {
        "Experiment.batch_size": ["8", "16"],
        "train.accumulation": ["1", "2"],
    }


def test_runs_are_named_by_the_shortest_ends_of_their_paths():
    assert reading.names_of(["runs/a/", "runs/b"]) == ["a", "b"]
    assert reading.names_of(["x/run", "y/run"]) == ["x/run", "y/run"]
    with pytest.raises(UserError, match="given twice"):
        reading.names_of(["runs/a", "runs/../runs/a"])


def test_the_newest_predictions_are_shown(tmp_path):
    path = make_run(tmp_path / "run")
    for step, text in ((20, "newest"), (10, "old")):
        add_predictions(tmp_path / "run", step, text)
    (found,) = reading.read(path).predictions
    assert found["about"]["step"] == 20
    assert [line["prediction"] for line in found["lines"]] == ["newest"] * 20


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: folder.rename(folder.parent / "away"), "there is no such folder"),
        (lambda folder: (folder / "config.gin").unlink(), "is no model_dir"),
        (lambda folder: (folder / "metrics.jsonl").unlink(), "nothing is reported yet"),
    ],
)
def test_what_is_no_run_is_one_clear_line(tmp_path, spoil, message):
    path = make_run(tmp_path / "run")
    spoil(tmp_path / "run")
    with pytest.raises(UserError, match=message):
        reading.read(path)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    from trainers.callbacks import tensorboard

    folder = tmp_path_factory.mktemp("report")
    paths = [make_run(folder / name, losses=losses) for name, losses in RUNS.items()]
    add_predictions(folder / "better", 40, "</script><b>bold</b>")
    texts = {"sample/'a <prompt>'": "a <prompt>\n  and more"}
    tensorboard.add(f"{paths[0]}/tensorboard", 40, "validation", {"loss": 1.0}, texts)
    output = folder / "page.html"
    command = [sys.executable, "scripts/report.py", *paths, f"--output={output}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{output}: 2 runs\n"
    return output


def test_the_page_reads_what_runs_wrote_as_text(page):
    before, *_, after = page.read_text().split("<script>")
    own = before + after
    assert not re.search(r'(?:src|href)="http', own)
    assert "<b>bold" not in own and "<prompt>" not in own
    assert "a &lt;prompt&gt;\n  and more</pre>" in own
    assert '<span class="wins">1</span> <small>step 40' in own
    assert own.count('<span class="wins">') == 1


@pytest.mark.skipif(not PROGRAM, reason="needs Chromium")
def test_curves_are_drawn_against_what_is_chosen(page, tmp_path):
    with browser(tmp_path) as window:
        window.ask("Page.navigate", url=f"file://{page}")
        window.wait_for("document.querySelectorAll('.chart .main-svg').length")
        drawn = "document.querySelectorAll('.js-plotly-plot').length"
        assert window.run(drawn) == 2  # losses and speeds
        assert window.run("document.querySelector('.chart').data.map((l) => l.name)") == [
            "better train",
            "better validation",
            "worse train",
            "worse validation",
        ]
        assert window.run("document.querySelector('.chart').data[0].x") == [10, 20, 30, 40]
        window.run(
            "axis.value = 'seconds'; scale.value = 'log'; scale.dispatchEvent(new Event('change'))"
        )
        hours = window.run("document.querySelector('.chart').data[1].x")
        assert hours == pytest.approx([4 / 3600, 7 / 3600, 10 / 3600, 13 / 3600])
        assert window.run("document.querySelector('.chart').layout.yaxis.type") == "log"
        assert not window.complaints()
        assert window.requested() == [f"file://{page}"]


RUNS = {"better": (3.0, 2.0, 1.5, 1.0), "worse": (4.0, 3.0, 2.0, 2.5)}


def test_an_error_is_one_line(tmp_path):
    run = make_run(tmp_path / "run")
    for arguments, message in (
        ([], "which runs?"),
        ([tmp_path / "none", f"--output={tmp_path}/page.html"], "no such folder"),
        ([run, f"--output={tmp_path}/none/page.html"], "No such file or directory: "),
        ([run, f"--output={tmp_path}"], f"{tmp_path}: is no file"),
        # Before any work: the runs are not even looked for.
        ([tmp_path / "none", f"--output={tmp_path}"], f"{tmp_path}: is no file"),
    ):
        command = [sys.executable, "scripts/report.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode and message in done.stderr + done.stdout
        assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_without_plotly_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(UserError, match=re.escape("pip install -e '.[report]'")):
        writing.render([])
