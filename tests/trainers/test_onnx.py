"""ONNX files against the Keras models that they were made from, and what has to be refused."""

import numpy as np
import onnxruntime
import pytest

from tests.trainers.tiny import family
from trainers import onnx
from trainers.errors import UserError
from trainers.export import ExportError


@pytest.mark.parametrize("name", ["decoder_lm", "encoder_decoder"])
def test_onnx_gives_the_logits_of_the_model_for_rows_of_any_length(tmp_path, name):
    model, _ = family(name)
    path = onnx.convert(model, str(tmp_path / "onnx" / "logits.onnx"))
    session = onnxruntime.InferenceSession(path)
    for batch, length in ((1, 1), (3, 20)):
        features = {
            each.name: np.full([batch, length], 7, np.int32) for each in session.get_inputs()
        }
        features["inputs"] += np.arange(length, dtype=np.int32)
        (logits,) = session.run(None, features)
        np.testing.assert_allclose(logits, model(features), rtol=1e-4, atol=1e-4)


def test_a_recurrent_model_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="--format=litert takes recurrent models"):
        onnx.convert(family("lstm_lm")[0], str(tmp_path / "onnx" / "logits.onnx"))
    assert not list(tmp_path.iterdir())


def test_a_file_with_other_logits_does_not_take_the_place_of_a_good_one(tmp_path, monkeypatch):
    path = tmp_path / "logits.onnx"
    path.write_text("a good one")
    model, other = family("decoder_lm")[0], family("decoder_lm", seed=1)[0]
    monkeypatch.setattr(model, "export", other.export)
    with pytest.raises(ExportError, match="other logits"):
        onnx.convert(model, str(path))
    assert path.read_text() == "a good one"
