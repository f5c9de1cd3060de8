"""The requests in docs/deploy.md, answered as TensorFlow Serving answers them.

The server's rules stand in its source: a session runs the signature (predict_util.cc), gRPC
requests are filled up with the signature's defaults (GetInputValues), and a JSON object of
`inputs` must name every argument (FillTensorMapFromInputsMap in json_tensor.cc).
"""

import json
import os
import re
import subprocess
import sys
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.saved_model import meta_graph
from tests.trainers.tiny import FAMILIES, one_quick
from trainers.settings import ROOT

with open(os.path.join(ROOT, "docs", "deploy.md"), encoding="utf-8") as file:
    DOCUMENT = file.read()
BODIES = [json.loads(body) for body in re.findall(r"^curl .* -d '(.*)'$", DOCUMENT, re.M)]


class Server(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, in a session."""

    def __init__(self, folder):
        with tf.Graph().as_default() as graph:
            self.session = tf.compat.v1.Session(graph=graph)
            loaded = tf.compat.v1.saved_model.load(self.session, ["serve"], folder)
        self.signatures = loaded.signature_def

    def Predict(self, request, context):
        signature = self.signatures[request.model_spec.signature_name]
        values = {**signature.defaults, **request.inputs}
        outputs = self.run(signature, {name: tf.make_ndarray(values[name]) for name in values})
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def run(self, signature, values):
        feeds = {signature.inputs[name].name: value for name, value in values.items()}
        fetches = {name: output.name for name, output in signature.outputs.items()}
        return self.session.run(fetches, feeds)


@pytest.fixture(scope="module", params=one_quick(FAMILIES))
def folder(request, exports):
    return exports[request.param]


@pytest.fixture(scope="module")
def server(folder):
    return Server(folder)


@pytest.fixture(scope="module")
def loaded(folder):
    return tf.saved_model.load(folder)


def test_the_documented_grpc_request_gets_the_text_of_generate(server, loaded):
    listener = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(server, listener)
    port = listener.add_insecure_port("localhost:0")
    listener.start()
    (client,) = re.findall(r"```python\n(import grpc.*?)```", DOCUMENT, re.S)
    names = {}
    exec(client.replace("localhost:8500", f"localhost:{port}"), names)
    names["channel"].close()
    listener.stop(None)
    expected = loaded.generate(["Once upon"], max_new_tokens=60, temperature=0.8, seed=1)
    np.testing.assert_array_equal(names["texts"], expected["text"].numpy())


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.get("signature_name", "default"))
def test_the_documented_rest_requests_fit_their_signatures(server, loaded, body):
    inputs = body["inputs"]
    signature = server.signatures[body.get("signature_name", "serving_default")]
    assert set(inputs) == set(signature.inputs)
    values = {}
    for name, spec in signature.inputs.items():
        dtype = tf.dtypes.DType(spec.dtype)
        values[name] = np.array(inputs[name], dtype.as_numpy_dtype)
        kind = {tf.string: str, tf.int32: int, tf.float32: float, tf.bool: bool}[dtype]
        elements = np.array(inputs[name], object).flat
        assert all(type(element) is kind for element in elements), name
        assert values[name].ndim == len(spec.tensor_shape.dim), name
    function = loaded.complete if "signature_name" in body else loaded.generate
    np.testing.assert_array_equal(
        server.run(signature, values)["text"], function(**inputs)["text"].numpy()
    )


def test_there_is_a_rest_request_for_each_of_two_signatures():
    assert [body.get("signature_name") for body in BODIES] == ["complete", None]


def test_the_command_that_shows_a_signature_names_its_arguments(exports):
    (command,) = re.findall(r"^saved_model_cli (.*)$", DOCUMENT, re.M)
    command = command.replace("models/mine/1", exports["decoder_lm"]).split()
    tool = os.path.join(os.path.dirname(sys.executable), "saved_model_cli")
    shown = subprocess.run([tool, *command], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"inputs\['(\w+)'\]", shown)) == {*BODIES[1]["inputs"]}
    assert {"text", "log_probabilities", "tokens"} < {*re.findall(r"outputs\['(\w+)'\]", shown)}


def test_no_function_of_an_export_asks_for_xla(folder):
    functions = meta_graph(folder).graph_def.library.function
    asking = [each.signature.name for each in functions if each.attr["_XlaMustCompile"].b]
    assert not asking
