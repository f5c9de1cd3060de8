"""scripts/prepare_data.py, evaluate.py and export.py: the modes of trainers.run by names of their own."""

import glob
import os
import runpy

import gin
import pytest

from tests.end_to_end.recipes import arguments, command, metrics_of

# What a script runs by name the tests have imported.
pytestmark = pytest.mark.filterwarnings("ignore:'trainers.run' found")


@pytest.fixture
def script(monkeypatch):
    """Function of a script's name and flags, which it runs to its end."""

    def run(name, *flags):
        monkeypatch.setattr("sys.argv", [name, *flags])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(f"scripts/{name}.py", run_name="__main__")
        gin.clear_config()
        assert not ended.value.code

    return run


def times(pattern):
    return {path: os.path.getmtime(path) for path in glob.glob(pattern, recursive=True)}


def test_what_is_prepared_is_what_training_reads(tmp_path, script, capsys):
    flags = [*arguments(str(tmp_path), "decoder_lm"), f"--data_dir={tmp_path}/data"]
    run = f"--model_dir={tmp_path}/run"
    script("prepare_data", *flags, run)
    said = capsys.readouterr().out
    assert [line.split(":")[0] for line in said.splitlines()] == ["train", "validation", "test"]
    made = times(f"{tmp_path}/data/**/*.bin")
    assert len({os.path.dirname(path) for path in made}) == 3
    learned = times(f"{tmp_path}/run/tokenizer/*")
    assert command(*flags, run)[0] == 0
    assert times(f"{tmp_path}/data/**/*.bin") == made
    assert times(f"{tmp_path}/run/tokenizer/*") == learned


def test_a_tokenizer_is_learned_anew_where_the_text_or_its_size_is_another(tmp_path, script):
    flags = arguments(str(tmp_path), "decoder_lm", TOKENIZER="bpe", VOCABULARY_SIZE=260)
    run = f"--model_dir={tmp_path}/run"
    script("prepare_data", *flags, run)
    learned = times(f"{tmp_path}/run/tokenizer/*")
    script("prepare_data", *flags, run)
    assert times(f"{tmp_path}/run/tokenizer/*") == learned
    script("prepare_data", *flags, run, "--gin_param=VOCABULARY_SIZE = 262")
    other = times(f"{tmp_path}/run/tokenizer/*")
    assert other != learned
    with open(tmp_path / "train.en", "a") as file:
        file.write("other words\n")
    script("prepare_data", *flags, run, "--gin_param=VOCABULARY_SIZE = 262")
    assert times(f"{tmp_path}/run/tokenizer/*") != other


def test_evaluate_and_export_take_a_model_dir_alone(tmp_path, script):
    flags = arguments(str(tmp_path), "decoder_lm", STEPS=2)
    run = f"--model_dir={tmp_path}/run"
    assert command(*flags, run)[0] == 0
    script("evaluate", run, "--split=test")
    assert [line["step"] for line in metrics_of(tmp_path / "run", "test")] == [2]
    script("export", run)
    assert os.path.exists(tmp_path / "run" / "export" / "saved_model.pb")
