"""What of a model learns: parts that are frozen, and low-rank updates in place of whole matrices."""

import contextlib
import re
from collections.abc import Sequence

import gin
import keras

from trainers.errors import UserError
from zoo.layers.dense import merge_lora

UPDATE = "lora_kernel"  # in the path of a variable of a low-rank update


@gin.configurable
class LoRA:
    """Low-rank updates of dense layers, all other weights frozen (Hu et al. 2022).

    A layer's output gets `alpha / rank` times x A B more, where B begins at 0. An export has the
    products added to the matrices.

    Args:
      rank: columns of A.
      alpha: None for `rank`, a scale of 1.
      layers: regular expressions of layers' paths, such as "qkv" or "block_1/(up|down)".
      also: regular expressions of the paths of weights that learn as they are, such as "norm".

    Raises:
      UserError: a rank below 1.
    """

    def __init__(
        self,
        rank: int = 8,
        alpha: float | None = None,
        layers: Sequence[str] = ("qkv",),
        also: Sequence[str] = (),
    ):
        if rank < 1:
            raise UserError(f"LoRA.rank = {rank}: must be at least 1")
        self.rank = rank
        self.alpha = alpha
        self.layers = list(layers)
        self.also = list(also)

    def apply(self, model):
        """Gives a model its updates, and freezes the rest.

        Raises:
          UserError: a pattern that matches nothing.
        """
        dense = {path_of(model, layer): layer for layer in model._flatten_layers() if adapts(layer)}
        chosen = matching("LoRA.layers", self.layers, dense)
        matching("LoRA.also", self.also, [weight.path for weight in model.weights])
        for variable in model.trainable_variables:
            variable.trainable = any(re.search(p, variable.path) for p in self.also)
        for name in chosen:
            dense[name].enable_lora(self.rank, self.alpha)


@contextlib.contextmanager
def set_aside(model):
    """While it lasts the layers of a model are as without their updates, to be given weights."""
    layers = [x for x in model._flatten_layers() if adapts(x) and x.lora_enabled]
    for layer in layers:
        layer.lora_enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.lora_enabled = True


def merge(model):
    """Adds the updates of a model's layers to their matrices, for good."""
    for layer in model._flatten_layers():
        if adapts(layer):
            merge_lora(layer)


def adapts(layer):
    return isinstance(layer, keras.layers.Dense | keras.layers.EinsumDense)


def path_of(model, layer):
    return layer.path.removeprefix(f"{model.name}/")


def freeze(model, patterns):
    """Lets weights be as they are.

    Args:
      patterns: regular expressions of their paths.

    Raises:
      UserError: a pattern that matches nothing, or nothing is left to learn.
    """
    paths = {variable.path: variable for variable in model.trainable_variables}
    for path in matching("train.frozen", patterns, paths):
        paths[path].trainable = False
    if not model.trainable_variables:
        raise UserError(f"train.frozen = {list(patterns)}: nothing is left to learn")


def matching(setting, patterns, paths):
    """The paths that a pattern is found in.

    Raises:
      UserError: naming a pattern that is found in none, or is none.
    """
    found = {}
    for pattern in patterns:
        try:
            matched = [path for path in paths if re.search(pattern, path)]
        except re.error as error:
            raise UserError(f"{setting}: {pattern!r} is no regular expression ({error})") from None
        if not matched:
            known = ", ".join(sorted({re.sub(r"\d+", "N", path) for path in paths}))
            raise UserError(f"{setting}: {pattern!r} matches nothing; there are {known}")
        found |= dict.fromkeys(matched)
    return list(found)


def scale_rates(optimizer, variables, scales):
    """Lets variables have learning rates of their own.

    Args:
      optimizer: a Keras optimizer.
      variables: those that learn.
      scales: {regular expression of paths: factor of the learning rate}; the first that matches.

    Raises:
      UserError: a pattern that matches nothing, or a factor below 0.
    """
    for pattern, factor in scales.items():
        if not factor >= 0:
            raise UserError(f"train.learning_rate_scales: {pattern!r} has {factor}; 0 is the least")
    matching("train.learning_rate_scales", scales, [variable.path for variable in variables])
    update = optimizer.update_step

    def update_step(gradient, variable, learning_rate):
        # Keras hands on TensorFlow's own variable, of one replica.
        path = re.sub(r"(/replica_\d+)?:\d+$", "", variable.name)
        factor = next((f for pattern, f in scales.items() if re.search(pattern, path)), None)
        if factor is not None:
            learning_rate = learning_rate * keras.ops.cast(factor, learning_rate.dtype)
        update(gradient, variable, learning_rate)

    optimizer.update_step = update_step
