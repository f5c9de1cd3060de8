import json
import os
import subprocess
import sys
from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf

from tests.saved_model import meta_graph
from tests.trainers.tiny import FAMILIES, BytesTokenizer, family, one_quick
from trainers import drafting, export
from trainers.data.tasks import text_to_text
from trainers.errors import UserError
from trainers.export import ExportError, export_model
from trainers.exported import state_of
from trainers.signatures import OPTIONS
from trainers.text_model import TextModel
from zoo import PretrainedLM

CLIENT = """
import json, sys
sys.modules["zoo"] = sys.modules["trainers"] = None  # importing them fails, as if not installed
import tensorflow as tf
import tensorflow_text

loaded = tf.saved_model.load(sys.argv[1])
for options in json.loads(sys.argv[2]):
    for text in loaded.generate(["hello", "a"], **options)["text"][:, 0].numpy():
        print(json.dumps(text.decode("latin1")))
"""


@pytest.mark.parametrize("name", one_quick(FAMILIES))
def test_exports_run_where_this_project_is_not_installed(exports, tmp_path, name):
    options = [{}, {"max_new_tokens": 5, "temperature": 1.0, "top_k": 9, "seed": 3}]
    command = [sys.executable, "-I", "-c", CLIENT, exports[name], json.dumps(options)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    loaded = tf.saved_model.load(exports[name])
    here = [loaded.generate(["hello", "a"], **each)["text"][:, 0].numpy() for each in options]
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert found == [text.decode("latin1") for texts in here for text in texts]


def test_clients_of_the_signatures_may_leave_out_what_has_a_default(exports):
    signatures = meta_graph(exports["decoder_lm"]).signature_def
    serving = signatures["serving_default"]
    assert {"text", "log_probabilities", "tokens", "finished"} <= set(serving.outputs)
    assert set(serving.inputs) - set(serving.defaults) == {"prompts"}
    assert set(signatures["start"].inputs) - set(signatures["start"].defaults) == {"prompts"}
    required = set(signatures["next"].inputs) - set(signatures["next"].defaults)
    assert set(signatures["start"].outputs) == set(signatures["next"].outputs) > required
    both = {f"other_{name}" for name in required} | required | {"rows"}
    assert set(signatures["join"].inputs) == both
    assert set(signatures["end"].inputs) == required | {"rows"}
    assert set(signatures["score"].inputs) == {"prompts", "continuations"}


def test_streaming_by_signatures_gives_the_text_of_generate(exports):
    loaded = tf.saved_model.load(exports["encoder_decoder"])
    defaults = {name: tf.constant(value, spec.dtype) for name, (value, spec) in OPTIONS.items()}
    options = {**defaults, "max_new_tokens": tf.constant(6)}
    state = loaded.signatures["start"](prompts=tf.constant(["hello"]), **options)
    for _ in range(5):
        state = loaded.signatures["next"](**state_of(state), steps=tf.constant(1))
    assert state["ended"].numpy().all()
    assert state["text"] == loaded.generate(["hello"], max_new_tokens=6)["text"][:, 0]


def test_a_new_export_takes_the_place_of_the_old(tmp_path):
    folder = str(tmp_path / "export")
    (tmp_path / "export" / "variables").mkdir(parents=True)
    (tmp_path / "export" / "old").touch()
    model, layout = family("lstm_lm")
    assert export_model(model, BytesTokenizer(), folder, layout, 32) == folder
    assert tf.saved_model.load(folder).describe()["max_length"] == 32
    assert "old" not in os.listdir(folder)
    assert os.listdir(tmp_path) == ["export"]


@pytest.mark.parametrize("name", FAMILIES)
def test_an_export_has_no_gradients_for_what_loads_it_to_keep(exports, name):
    assert not meta_graph(exports[name]).graph_def.library.registered_gradients


class UnequalTokenizer(BytesTokenizer):
    def encode(self, text):
        return super().encode(text.upper())


@pytest.fixture
def good(tmp_path):
    """The folder of an export, nothing of which may change."""
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "saved_model.pb").write_text("a good one")
    yield folder
    assert (folder / "saved_model.pb").read_text() == "a good one"
    assert os.listdir(tmp_path) == ["export"]


def test_a_broken_export_does_not_take_the_place_of_a_good_one(good, monkeypatch):
    model, layout = family("decoder_lm")

    def save_other_weights(text_model, folder, save=export.save):
        weights = model.get_weights()
        model.set_weights([weight[::-1] for weight in weights])
        save(text_model, folder)
        model.set_weights(weights)

    monkeypatch.setattr(export, "save", save_other_weights)
    with pytest.raises(ExportError, match="otherwise than the model"):
        export_model(model, BytesTokenizer(), str(good), layout, 64)


@pytest.mark.slow
def test_nor_does_one_whose_tokenizer_is_another(good):
    model, layout = family("decoder_lm")
    with pytest.raises(ExportError, match="tokenizer"):
        export_model(model, UnequalTokenizer(), str(good), layout, 64)


@pytest.mark.slow
def test_a_model_in_half_precision_exports(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, layout = family("decoder_lm", positions="learned", context_length=12)
        folder = export_model(model, BytesTokenizer(), str(tmp_path / "e"), layout, 12)
    finally:
        keras.config.set_dtype_policy("float32")
    loaded = tf.saved_model.load(folder)
    assert loaded.score(["a"], ["b"])["log_probabilities"].dtype == tf.float32


def test_a_draft_with_too_few_positions_is_refused_with_what_to_do():
    model, _ = family("decoder_lm")
    short, _ = family("decoder_lm", positions="learned", context_length=12)
    drafting.check_fits("runs/small", short, model, 12, 4)
    with pytest.raises(UserError) as error:
        drafting.check_fits("runs/small", short, model, 16, 4)
    assert str(error.value) == (
        'export.draft = "runs/small": it has only 12 positions, and the export reads 16; train a '
        "draft with DecoderLM.context_length = 16, or export with "
        "--gin_param='Experiment.max_length = 12'"
    )


def test_weights_that_a_models_layers_cannot_have_are_refused():
    model, _ = family("decoder_lm")
    alone = PretrainedLM.__new__(PretrainedLM)
    for each, weights in ((model, "int8"), (alone, "float32")):
        export.check_weights(each, weights)
    with pytest.raises(UserError, match="a PretrainedLM can be exported with 'float32' alone"):
        export.check_weights(alone, "int8")


def test_an_export_says_the_labels_of_its_task(tmp_path):
    task = text_to_text(None, inputs="review: {text}", targets="{label}", labels=("bad", "good"))
    experiment = SimpleNamespace(
        task=task, sequence_length=16, max_length=None, longest_source=32, source_length=None
    )
    model, _ = family("lstm_lm")
    settings = export.text_settings(experiment, model)
    described = TextModel(model, BytesTokenizer(), **settings).describe()
    assert described["labels"].numpy().tolist() == [b"bad", b"good"]
    assert described["prefix"] == "review: "
