"""What a checkpoint holds of a run, and how it comes back."""

import os
import re

import numpy as np
import tensorflow as tf

from trainers.adaptation import UPDATE
from trainers.checkpoints import STATE
from trainers.errors import UserError

# A part can be on its way to the disk while TensorFlow writes the next.
PART_BYTES = 2**28
VALUE = ".ATTRIBUTES/VARIABLE_VALUE"  # what TensorFlow's checkpoints call a variable's value


class TrainState:
    """Everything that training changes: weights, optimizer, averages and carried state.

    Args:
      step: TrainStep.
    """

    def __init__(self, step):
        self.model = step.model
        self.averages = step.averages
        self.carried = step.carried
        # Rows of all replicas in one array: it fits any number of them.
        self.rows = [tf.Variable(array, trainable=False) for array in self.carried.get()]
        learned = by_path(step.model.trainable_variables)
        self.parts = {
            "model": by_path(step.model.weights),
            "optimizer": by_path(step.optimizer.variables, step.optimizer.name),
            "averages": dict(zip(learned, step.averages, strict=False)),
            "carried": self.rows,
            "loss_scale": step.loss_scale.variables,
        }

    def gather(self):
        """Brings here what is spread over replicas; every worker must, before `write`."""
        for variable, array in zip(self.rows, self.carried.get(), strict=True):
            variable.assign(array)

    def write(self, prefix):
        write(tf.train.Checkpoint(**self.parts), prefix)

    def read(self, path):
        """Raises UserError where the checkpoint lacks something or has it in another shape."""
        parts = self.parts
        if self.averages and has_numbered_averages(self.model, path):
            parts = parts | {"averages": self.averages}
        restore(tf.train.Checkpoint(**parts), path)
        self.carried.set([rows.numpy() for rows in self.rows])

    def reset_averages(self):
        """Averages begin where the weights are."""
        for average, variable in zip(self.averages, self.model.trainable_variables, strict=False):
            average.assign(variable.value)


def by_path(variables, owner=""):
    """{path: tf.Variable} of Keras variables, their paths from below `owner`.

    tf.train.Checkpoint, given a Keras model, passes over the layers that it keeps in lists.
    """
    found = {}
    for variable in variables:
        path = variable.path.removeprefix(f"{owner}/")
        if path in found:
            raise ValueError(f"two variables are called {path}; give their layers names")
        found[path] = variable.value
    return found


def write(state, prefix):
    """Writes a tf.train.Checkpoint, a large one in parts."""
    parts = tf.train.experimental.MaxShardSizePolicy(PART_BYTES)
    state.write(prefix, tf.train.CheckpointOptions(experimental_sharding_callback=parts))


def restore(state, path):
    """Reads all of a tf.train.Checkpoint.

    Raises:
      UserError: the checkpoint lacks something of it or has it in another shape.
    """
    try:
        status = state.read(os.path.join(path, STATE)).expect_partial()
        status.assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        reason = str(error).strip().split("\n")[0]
        problem = f"was made by another model or optimizer ({reason}); put back the old settings"
        if isinstance(error, ValueError):
            problem = other_rows(state, path) or problem
        raise UserError(
            f"{path}: {problem}, or begin a new --model_dir from its weights with "
            "train.initial_checkpoint"
        ) from error


def other_rows(state, path):
    """What to say where a checkpoint's carried state is of more rows or fewer, else None."""
    there = tf.train.load_checkpoint(os.path.join(path, STATE)).get_variable_to_shape_map()
    for i, variable in enumerate(getattr(state, "carried", ())):
        (here, *of_a_row), shape = variable.shape, there.get(f"carried/{i}/{VALUE}", [0])
        if shape[1:] == of_a_row and shape[0] != here:
            return f"carries the state of {shape[0]} rows, and batches have {here}; put back BATCH_SIZE"
    return None


def restore_weights(model, path, new_tokens=0):
    """Reads a model's weights, and of those whose averages were kept the averages instead.

    Low-rank updates of a model whose checkpoint has none stay as they are. The checkpoint's tables
    may lack the last `new_tokens` tokens; see `extended`.

    Raises:
      UserError: they do not fit the model.
    """
    reader = tf.train.load_checkpoint(os.path.join(path, STATE))
    names = reader.get_variable_to_shape_map()
    updated = any(UPDATE in name for name in names if name.startswith("model/"))
    weights = [weight for weight in model.weights if updated or UPDATE not in weight.path]
    if updated and not any(UPDATE in weight.path for weight in weights):
        raise UserError(
            f"{path}: has low-rank updates; begin from what scripts/convert.py makes of it, or with "
            "the same Experiment.adaptation"
        )
    by_name = by_path(weights)
    for key, variable in list(by_name.items()):
        there = names.get(f"model/{escaped(key)}/{VALUE}")
        more = variable.shape[0] - there[0] if there else 0
        if 0 < more <= new_tokens:
            variable.assign(extended(reader.get_tensor(f"model/{escaped(key)}/{VALUE}"), more))
            del by_name[key]
    restore(tf.train.Checkpoint(model=by_name), path)
    averages = by_path(weights)
    if has_numbered_averages(model, path):
        averages = {str(i): weight for i, weight in enumerate(model.trainable_variables)}
    for key, variable in averages.items():
        name = f"averages/{escaped(key)}/{VALUE}"
        if name in names:
            average = reader.get_tensor(name)
            if average.shape != tuple(variable.shape):
                average = extended(average, variable.shape[0] - len(average))
            variable.assign(average)


def has_numbered_averages(model, path):
    """Whether a checkpoint calls averages by the places of what learned, as older ones do.

    Raises:
      UserError: it does, and something else learns here.
    """
    there = tf.train.load_checkpoint(os.path.join(path, STATE)).get_variable_to_shape_map()
    numbered = [name for name in there if re.fullmatch(rf"averages/\d+/{re.escape(VALUE)}", name)]
    if not numbered:
        return False
    learned = [f"model/{escaped(key)}/{VALUE}" for key in by_path(model.trainable_variables)]
    shapes = [there[f"averages/{i}/{VALUE}"] for i in range(len(numbered))]
    if shapes != [there.get(name) for name in learned]:
        raise UserError(
            f"{path}: averages of weights are numbered there, as older versions did, and those that "
            "learn here are others; let that run go on, with STEPS one higher: it names them"
        )
    return True


def escaped(key):
    """A key of a dict as TensorFlow's checkpoints write it."""
    return key.replace(".", "..").replace("/", ".S")


def extended(table, count):
    """A table [V, ...] with rows for `count` tokens more, each the mean of those that there are.

    So they are neither much likelier nor much less likely than others (Hewitt 2021, "Initializing
    New Word Embeddings for Pretrained Language Models").
    """
    mean = table.mean(axis=0, dtype="float64").astype(table.dtype)
    return np.concatenate([table, np.broadcast_to(mean, (count, *table.shape[1:]))])


def restore_mean(model, paths):
    """Reads the mean of the weights of checkpoints, of each what `restore_weights` would read.

    It is made in float64. What is not of floating point is that of the last one.

    Raises:
      UserError: they do not fit the model.
    """
    sums = [0.0] * len(model.weights)
    for path in paths:
        restore_weights(model, path)
        sums = [
            total + np.asarray(w, "float64") for total, w in zip(sums, model.weights, strict=True)
        ]
    for weight, total in zip(model.weights, sums, strict=True):
        if weight.dtype.startswith("float"):
            weight.assign(total / len(paths))
