import errno
import subprocess
import sys
import types

import pytest

import trainers
from trainers import run
from trainers.errors import Interrupted, UserError, WorkerLost

LEAST = """
Experiment.model = @DecoderLM
Experiment.task = @text_to_text()
Experiment.batch_size = 8
Experiment.sequence_length = 16
train.learning_rate = 0.1
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """What a command line calls, everything heavy replaced; raises what `calls.error` holds."""
    calls = types.SimpleNamespace(made=[], error=None)

    def recorder(name):
        def call(*args):
            calls.made.append((name, *args))
            if calls.error:
                raise calls.error

        return call

    parts = {
        "registry": {"register": lambda: None},
        "trainer": {"train": recorder("train"), "evaluate": recorder("evaluate")},
        "export": {"export": recorder("export")},
        "litert": {"export": recorder("litert")},
        "onnx": {"export": recorder("onnx")},
        "experiment": {"Experiment": lambda data_dir: f"experiment on {data_dir}"},
    }
    for name, members in parts.items():
        module = types.SimpleNamespace(**members)
        monkeypatch.setitem(sys.modules, f"trainers.{name}", module)
        monkeypatch.setattr(trainers, name, module, raising=False)
    monkeypatch.setattr(run.startup, "import_tensorflow", lambda: None)
    monkeypatch.setattr(run.config, "load", lambda checked: None)
    (tmp_path / "x.gin").write_text(LEAST)
    monkeypatch.chdir(tmp_path)
    return calls


def test_each_mode_calls_its_one_function(calls):
    common = ["run", "--gin_file=x.gin", "--model_dir=runs/x"]
    assert run.main([*common, "--data_dir=data"]) == 0
    assert run.main([*common, "--mode=evaluate"]) == 0
    assert run.main([*common, "--mode=evaluate", "--split=test"]) == 0
    assert run.main([*common, "--mode=export", "--gin_param", "DecoderLM.num_heads = 2"]) == 0
    assert run.main([*common, "--mode=export", "--format=litert"]) == 0
    assert run.main([*common, "--mode=export", "--format=onnx"]) == 0
    assert calls.made == [
        ("train", "experiment on data", "runs/x"),
        ("evaluate", "experiment on None", "runs/x", "validation"),
        ("evaluate", "experiment on None", "runs/x", "test"),
        ("export", "experiment on None", "runs/x"),
        ("litert", "experiment on None", "runs/x"),
        ("onnx", "experiment on None", "runs/x"),
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--gin_fil=x.gin"], "--gin_fil: there is no such flag; did you mean --gin_file?"),
        (
            ["--gin_file=x.gin"],
            "--model_dir must be set: folder of the run, as --model_dir=runs/quickstart",
        ),
        (
            ["--model_dir=m", "--mode=trian"],
            "flag --mode=trian: value should be one of <prepare|train|evaluate|export>",
        ),
        (
            ["--model_dir=m", "--gin_param", "STEPS", "=", "3"],
            "=: not a flag; a --gin_param needs quotes: --gin_param='A = 1'",
        ),
        (
            ["--model_dir=m"],
            (
                "--gin_file must be set: a recipe, as --gin_file=configs/recipes/quickstart.gin "
                "(m has no config.gin to go on from)"
            ),
        ),
        (
            ["--model_dir=m", "--gin_file=x.gin", "--gin_param=DecoderLM.num_head = 4"],
            "--gin_param: DecoderLM has no num_head; did you mean num_heads?",
        ),
    ],
)
def test_a_mistake_in_the_command_is_one_line_and_exit_code_1(calls, capsys, arguments, message):
    assert run.main(["run", *arguments]) == 1
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not calls.made


def test_only_training_needs_a_learning_rate(calls, capsys, tmp_path):
    (tmp_path / "x.gin").write_text(LEAST.replace("train.learning_rate = 0.1", ""))
    flags = ["run", "--gin_file=x.gin", "--model_dir=m"]
    assert run.main([*flags, "--mode=evaluate"]) == 0
    assert run.main(flags) == 1
    assert "x.gin: train.learning_rate must be set: --gin_param=" in capsys.readouterr().err


def test_a_user_error_from_within_is_one_line_without_what_gin_adds(calls, capsys):
    calls.error = UserError("a.txt: is empty\n  In call to configurable 'text_files'")
    assert run.main(["run", "--gin_file=x.gin", "--model_dir=m"]) == 1
    assert capsys.readouterr().err == "error: a.txt: is empty\n"


@pytest.mark.parametrize(
    "error, status, said",
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (Interrupted("SIGTERM: saved"), 75, "SIGTERM: saved"),
        (WorkerLost("error: a worker is gone"), 75, "error: a worker is gone"),
        (
            OSError(errno.ENOSPC, "No space left on device", "m/x"),
            1,
            "error: [Errno 28] No space left on device: 'm/x'; checkpoints are whole: make room, "
            "and the same command goes on",
        ),
    ],
)
def test_a_run_that_was_cut_short_says_how_to_go_on(calls, capsys, error, status, said):
    calls.error = error
    assert run.main(["run", "--gin_file=x.gin", "--model_dir=m"]) == status
    assert capsys.readouterr().err == f"{said}\n"


def test_a_mistake_of_ours_is_shown_whole(calls):
    calls.error = RuntimeError("a mistake")
    with pytest.raises(RuntimeError, match="a mistake"):
        run.main(["run", "--gin_file=x.gin", "--model_dir=m"])


def test_help_is_instant_and_begins_with_examples():
    script = (
        "import sys, time, runpy\n"
        "sys.argv = ['run', '--help']\n"
        "try: runpy.run_module('trainers.run', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'tensorflow' not in sys.modules\n"
        "assert time.process_time() < 1, time.process_time()\n"
    )
    output = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert "python -m trainers.run --gin_file=" in output.splitlines()[2]
    assert output.index("--data_dir") < output.index("--gin_file:") < output.index("absl.flags")


def test_pipeline_comes_from_trainers_without_tensorflow():
    script = (
        "import sys; from trainers import pipeline\n"
        "assert callable(pipeline) and 'tensorflow' not in sys.modules"
    )
    subprocess.check_call([sys.executable, "-c", script])
