"""Tells gin of everything that a recipe may name. Imports it all, so TensorFlow as well."""

import functools
import importlib
import inspect

import gin
import keras

import zoo
from trainers.catalogue import Catalogue
from trainers.errors import UserError


@functools.cache
def register():
    """Registers what catalogue.py lists: our own by importing it, zoo and Keras from outside."""
    catalogue = Catalogue()
    for module in catalogue.modules:
        importlib.import_module(module)
    for name in catalogue.models:
        gin.external_configurable(constructor(getattr(zoo, name)), module="zoo")
    for package in (keras.optimizers, keras.callbacks):
        for name, value in vars(package).items():
            # Ours has the same name because it is meant instead.
            if inspect.isclass(value) and name not in catalogue.configurables:
                gin.external_configurable(constructor(value), name, package.__name__)


def constructor(cls):
    """A function that makes a `cls`: gin would subclass a class, and Keras could not save that."""

    def construct(*args, **kwargs):
        try:
            return cls(*args, **kwargs)
        except ValueError as error:
            problem, *_ = str(error).split("\n")
            raise UserError(f"{cls.__name__}: {problem}") from error

    construct.__name__ = construct.__qualname__ = cls.__name__
    construct.__doc__ = cls.__doc__
    construct.__module__ = cls.__module__
    _, *parameters = inspect.signature(cls.__init__).parameters.values()
    construct.__signature__ = inspect.Signature(parameters)
    return construct
