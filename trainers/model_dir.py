"""The folder that is a run: where its parts lie, and who may write to it."""

import contextlib
import fcntl
import json
import os
import socket

from trainers.errors import UserError


class ModelDir:
    """Paths within a model_dir.

    Attributes:
      path: the folder.
      tokenizer, checkpoints, tensorboard, export, litert, onnx, predictions, reference, data:
        folders in it.
      metrics: the file metrics.jsonl.
      chat_template: the file that a task of dialogue is written by.
    """

    def __init__(self, path):
        self.path = path
        self.tokenizer = os.path.join(path, "tokenizer")
        self.checkpoints = os.path.join(path, "checkpoints")
        self.metrics = os.path.join(path, "metrics.jsonl")
        self.chat_template = os.path.join(path, "chat_template.jinja")
        self.tensorboard = os.path.join(path, "tensorboard")
        self.export = os.path.join(path, "export")
        self.litert = os.path.join(path, "litert")
        self.onnx = os.path.join(path, "onnx")
        self.predictions = os.path.join(path, "predictions")
        self.reference = os.path.join(path, "reference")
        self.data = os.path.join(path, "data")

    def __str__(self):
        return self.path

    @contextlib.contextmanager
    def locked(self):
        """Holds the folder against other processes; the lock goes with the process that holds it.

        Raises:
          UserError: another process holds it.
        """
        os.makedirs(self.path, exist_ok=True)
        # Opened for appending: who waits must not wipe the holder's name.
        with open(os.path.join(self.path, "lock"), "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise UserError(
                    f"{self.path}: in use by {holder(file.read())}; wait until it has ended, "
                    "or use another --model_dir"
                ) from None
            file.truncate(0)
            json.dump({"process": os.getpid(), "host": socket.gethostname()}, file)
            file.flush()
            yield


def holder(text):
    try:
        facts = json.loads(text)
        return f"process {facts['process']} on {facts['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
