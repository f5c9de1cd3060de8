"""TensorBoard: curves whose step is the optimizer's, and which go on across a resume."""

import glob
import os
import shutil

import gin
import keras
import tensorflow as tf

from trainers.callbacks.metrics_file import PREFIX


class TensorBoard(keras.callbacks.Callback):
    """Writes each number of the logs, and the configuration as text.

    Training and validation are two runs of the folder, so that their losses share a chart.

    Args:
      folder: points of steps after `start`, of a run that was stopped before its next
        checkpoint, are removed from it.
      start: step that the run goes on from.
      evaluated: the last step whose evaluations stay; None for `start`.
    """

    def __init__(self, folder, start=0, evaluated=None):
        super().__init__()
        self.folder = folder
        self.start = start
        self.open(start, start if evaluated is None else evaluated)

    def open(self, step, evaluated):
        """Goes on after `step`."""
        self.step = step
        cut(self.folder, {"train": step, "validation": evaluated})
        self.train, self.validation = (
            tf.summary.create_file_writer(os.path.join(self.folder, split))
            for split in ("train", "validation")
        )

    def on_go_back(self, step, event):
        self.on_train_end()
        self.open(step, step)

    def on_train_begin(self, logs=None):
        if self.start:
            return
        with self.train.as_default(step=0):
            tf.summary.text("config", indented(gin.config_str()))
            lines = []
            self.model.summary(print_fn=lines.append, line_length=100)
            tf.summary.text("model", indented("\n".join(lines)))

    def on_train_batch_end(self, batch, logs=None):
        self.step = batch
        write(self.train, batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        values = {k.removeprefix(PREFIX): v for k, v in logs.items() if k.startswith(PREFIX)}
        write(self.validation, self.step, values)
        self.train.flush()

    def write_samples(self, texts):
        """Texts by name."""
        write_texts(self.validation, self.step, texts)

    def on_train_end(self, logs=None):
        self.train.close()
        self.validation.close()


def add(folder, step, split, values, texts):
    """Adds figures and texts of a split outside of training; nothing where there are no figures.

    Args:
      folder: of TensorBoard.
      step, split: what they are of.
      values, texts: {name: number}, {name: text}.
    """
    if values:
        writer = tf.summary.create_file_writer(os.path.join(folder, split))
        write(writer, step, values)
        write_texts(writer, step, texts)
        writer.close()


def write_texts(writer, step, texts):
    with writer.as_default(step=step):
        for name, text in texts.items():
            tf.summary.text(name, indented(text))
    writer.flush()


def write(writer, step, values):
    with writer.as_default(step=step):
        for name, value in values.items():
            if isinstance(value, int | float):
                tf.summary.scalar(name, value)
    writer.flush()


def cut(folder, last):
    """Removes the events of steps after `last`, and what a killed process left half written.

    Args:
      folder: of TensorBoard.
      last: {split: step}; of other splits than these, that of "train".
    """
    if not any(last.values()):
        shutil.rmtree(folder, ignore_errors=True)
    for path in glob.glob(os.path.join(folder, "*", "events.*")):
        split = os.path.basename(os.path.dirname(path))
        records = []
        try:
            for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
                if tf.compat.v1.Event.FromString(record).step <= last.get(split, last["train"]):
                    records.append(record)
        except tf.errors.DataLossError:
            pass
        with tf.io.TFRecordWriter(f"{path}.new") as file:
            for record in records:
                file.write(record)
        os.replace(f"{path}.new", path)


def indented(text):
    """Markdown that shows a text as it is."""
    return "".join(f"    {line}\n" for line in text.splitlines())
