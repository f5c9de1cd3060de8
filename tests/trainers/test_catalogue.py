import pytest

from trainers import config
from trainers.errors import UserError


def test_what_has_no_default_must_be_set_where_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "Experiment.model = @DecoderLM\nExperiment.batch_size = 8\nmine/Experiment.task = None\n"
    (tmp_path / "x.gin").write_text(text + "trainers.trainer.train.learning_rate = 1.0")
    with pytest.raises(UserError) as error:
        config.check(["x.gin"], [], called=["Experiment", "train"])
    assert str(error.value) == (
        "x.gin: Experiment.task, Experiment.sequence_length must be set: "
        "--gin_param='Experiment.task = ...' --gin_param='Experiment.sequence_length = ...'"
    )
    with pytest.raises(UserError, match=r"^x.gin: STEPS must be set: --gin_param='STEPS = ...'$"):
        config.check(["x.gin"], ["train.steps = %STEPS"], called=["Experiment"])
    params = ["Experiment.task = @text_to_text()", "Experiment.sequence_length = 4"]
    config.check(["x.gin"], params, called=["Experiment", "train"])


def test_what_gin_may_not_set_is_no_parameter(tmp_path):
    (tmp_path / "x.gin").write_text("train.model_dir = 'runs/x'")
    with pytest.raises(UserError, match="x.gin:1: train has no model_dir"):
        config.check([str(tmp_path / "x.gin")], [])
