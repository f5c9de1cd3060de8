"""What is written in a SavedModel."""

import os

from tensorflow.core.protobuf import saved_model_pb2


def meta_graph(folder):
    saved = saved_model_pb2.SavedModel()
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        saved.ParseFromString(file.read())
    return saved.meta_graphs[0]
