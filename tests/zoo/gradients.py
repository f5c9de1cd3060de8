"""Gradients under whichever backend Keras has."""

import keras
from keras import ops


def gradients(function, tensors):
    """Of a scalar function of tensors, as NumPy arrays; zeros where it does not depend on one."""
    tensors = [ops.convert_to_tensor(tensor) for tensor in tensors]
    if keras.backend.backend() == "jax":
        import jax

        found = jax.grad(lambda tensors: function(*tensors))(tensors)
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            result = function(*tensors)
        found = tape.gradient(result, tensors, unconnected_gradients="zero")
    return [ops.convert_to_numpy(ops.convert_to_tensor(gradient)) for gradient in found]


def weight_gradients(model, loss):
    """Of `loss()`, a scalar that the model's trainable weights go into. {path: array}"""
    variables = model.trainable_variables

    def function(*values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return loss()

    found = gradients(function, [variable.value for variable in variables])
    return list(zip((variable.path for variable in variables), found, strict=True))
