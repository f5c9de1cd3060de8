"""From a model_dir to ONNX: the logits of whole rows, without a cache, by Keras' own exporter.

The file has the inputs `inputs` int32 [B, T] and, for a model that reads a source, `source` int32
[B, S]; its output is the logits, float32 [B, T, V].
"""

import importlib.util
import os
import tempfile

import numpy as np
import tensorflow as tf

from trainers.checkpoints import name_of
from trainers.errors import UserError
from trainers.export import ExportError
from trainers.model_dir import ModelDir

TOLERANCE = 1e-3
rows = tf.TensorSpec([None, None], tf.int32)


def export(experiment, model_dir):
    """Writes the trained model of a model_dir to onnx/logits.onnx, and returns the path.

    Raises:
      UserError: nothing has been trained there; see also `convert`.
    """
    directory = ModelDir(model_dir)
    model, _, steps = experiment.load(directory)
    path = convert(model, os.path.join(directory.onnx, "logits.onnx"))
    print(f"exported {name_of(steps)} to {path}, {os.path.getsize(path) / 1e6:.1f} MB")
    return path


def convert(model, path):
    """Writes a model to an ONNX file, tries what was written, and only then puts it in place.

    Args:
      model: a zoo.LanguageModel in float32.
      path: of the file.

    Returns:
      `path`.

    Raises:
      UserError: packages are missing, or a model that ONNX cannot take.
      ExportError: the file's logits differ from the model's.
    """
    if not importlib.util.find_spec("tf2onnx"):
        raise UserError("--format=onnx needs packages of its own: pip install -e '.[onnx]'")
    if model.initial_state(1) != ():
        raise UserError(
            f"{type(model).__name__}: tf2onnx has no operation for a loop over time; "
            "--format=litert takes recurrent models"
        )
    if model.compute_dtype != "float32":
        raise UserError("ONNX: export in float32, with --gin_param='PRECISION = \"float32\"'")
    names = ("inputs", "source") if model.reads_source else ("inputs",)
    signature = {name: tf.TensorSpec(rows.shape, rows.dtype, name) for name in names}
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".onnx-", dir=folder) as scratch:
        new = os.path.join(scratch, "new.onnx")
        model.export(new, format="onnx", input_signature=[signature], verbose=False)
        check(new, model, names)
        os.replace(new, path)
    return path


def check(path, model, names):
    """Raises ExportError where a file's logits differ from the Keras model's."""
    import onnxruntime

    random = np.random.default_rng(0)
    size = model.vocabulary_size
    features = {name: random.integers(1, size, [2, 7], np.int32) for name in names}
    (logits,) = onnxruntime.InferenceSession(path).run(None, features)
    if not np.allclose(logits, model(features), rtol=TOLERANCE, atol=TOLERANCE):
        raise ExportError("the ONNX file gives other logits than the model")
