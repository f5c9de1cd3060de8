"""A small model that drafts for a larger one in its export, by the command line."""

import shutil

import gin
import numpy as np
import pytest
import tensorflow as tf

from tests.end_to_end.recipes import arguments, command
from trainers import config, drafting, registry
from trainers import export as exporting
from trainers.data import tokenizers
from trainers.exported import state_of
from zoo import LSTMLM

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with the model_dirs `run`, and `small` by its tokenizer, of another family."""
    folder = tmp_path_factory.mktemp("draft")
    for name, family, settings in (
        ("run", "decoder_lm", {}),
        ("small", "lstm_lm", {"TOKENIZER": f"{folder}/run/tokenizer"}),
    ):
        flags = arguments(str(folder), family, **settings)
        status, _, err = command(*flags, f"--model_dir={folder}/{name}")
        assert status == 0, err
    return folder


def export(folder, *options, model="run"):
    flags = [f"--gin_param=export.{option}" for option in options]
    return command(f"--model_dir={folder}/{model}", "--mode=export", *flags)


def test_an_export_with_a_draft_passes_its_check_and_names_it_in_its_card(runs):
    # The check: tokens and log-probabilities are those of the model, which reads them at once.
    status, _, err = export(runs, f"draft = '{runs}/small'", "proposals = 3")
    assert status == 0, err
    assert "| draft, for speed | LSTMLM, " in (runs / "run/export/model_card.md").read_text()
    loaded = tf.saved_model.load(f"{runs}/run/export")
    options = {"max_new_tokens": 30, "temperature": 1.0, "seed": 3}
    whole = loaded.generate(["one", "two more"], **options)
    drawn = loaded.start(["one", "two more"], **options)
    for steps in (1, 28):
        drawn = loaded.next(state_of(drawn), steps=steps)
        assert (drawn["num_tokens"].numpy() <= 1 + 4 * steps).all()
    np.testing.assert_array_equal(drawn["text"], whole["text"][:, 0])


def test_the_configuration_of_a_draft_does_not_take_the_place_of_the_runs_own(runs):
    registry.register()
    config.load(config.check([], [], f"{runs}/run"))
    try:
        draft = drafting.load(
            f"{runs}/small",
            drafting.check(f"{runs}/small"),
            tokenizers.load(f"{runs}/run/tokenizer"),
        )
        assert isinstance(draft, LSTMLM)
        assert gin.query_parameter("Experiment.model").selector.endswith("DecoderLM")
        assert "LSTMLM" not in gin.operative_config_str()
    finally:
        gin.clear_config()


def test_a_draft_has_weights_of_fewer_bytes_too(runs, monkeypatch):
    made = {}
    monkeypatch.setattr(exporting, "export_model", lambda *_, **settings: made.update(settings))
    status, _, err = export(runs, f"draft = '{runs}/small'", "weights = 'int8'")
    assert status == 0, err
    matrices = [weight for weight in made["draft"].weights if weight.name == "matrix"]
    assert {weight.dtype for weight in matrices} == {"int8"}
    assert made["proposals"] == 4


def test_a_draft_that_does_not_fit_is_a_line_that_says_why(runs):
    def complaint(draft, model="run", *options):
        status, _, err = export(runs, f"draft = '{runs}/{draft}'", *options, model=model)
        assert status == 1 and err.count("\n") == 1
        return err

    assert 'nowhere": there is no config.gin in it' in complaint("nowhere")
    shutil.copytree(runs / "small", runs / "untrained")
    shutil.rmtree(runs / "untrained" / "checkpoints")
    assert "untrained/checkpoints: there is no checkpoint" in complaint("untrained")
    flags = arguments(str(runs), "lstm_lm", STEPS=1, EVAL_EVERY=1)
    assert command(*flags, f"--model_dir={runs}/other")[0] == 0
    assert 'other": it has another tokenizer; train it with' in complaint("other")
    assert "LSTMLM reads token by token" in complaint("run", "small")
    assert "proposals 0 is not positive" in complaint("small", "run", "proposals = 0")
