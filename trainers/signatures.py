"""What the exported functions take: names, types, defaults, and what cannot be."""

import inspect

import tensorflow as tf

from zoo.decoding import samplers

strings = tf.TensorSpec([None], tf.string)
integers = tf.TensorSpec([None], tf.int32)
integer = tf.TensorSpec([], tf.int32)
number = tf.TensorSpec([], tf.float32)
# One for all prompts, or one for each.
integer_each = tf.TensorSpec(None, tf.int32)
number_each = tf.TensorSpec(None, tf.float32)
truth = tf.TensorSpec([], tf.bool)
NEEDED = inspect.Parameter.empty
# What `generate` and `start` take beside prompts: name -> (default, type).
OPTIONS = {
    "max_new_tokens": (256, integer_each),
    "temperature": (0.0, number_each),
    "top_k": (0, integer_each),
    "top_p": (1.0, number_each),
    "num_return_sequences": (1, integer),
    "seed": (0, integer_each),
    "min_p": (0.0, number_each),
    "repetition_penalty": (1.0, number_each),
    "presence_penalty": (0.0, number_each),
    "frequency_penalty": (0.0, number_each),
    "min_new_tokens": (0, integer_each),
    "top_logprobs": (0, integer_each),
    "forced": (("",), strings),
    "truncate": (True, truth),
}
START = {"prompts": (NEEDED, strings), **OPTIONS}
BEAM_OPTIONS = {
    "max_new_tokens": (256, integer),
    "num_beams": (4, integer),
    "length_penalty": (1.0, number),
    "num_return_sequences": (1, integer),
    "early_stopping": (False, truth),
    "exhaustive": (False, truth),
    "forced": (("",), strings),
    "truncate": (True, truth),
}


def graph(method, parameters):
    """A tf.function of a bound method.

    Args:
      method: its arguments are tensors, or dicts of them.
      parameters: name -> (default, spec); NEEDED for no default. Defaults become the
        signature's, which clients of a saved model may leave out.
    """
    specs = [spec for _, spec in parameters.values()]
    signature = inspect.Signature(
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=default if default is NEEDED else tf.constant(default, spec.dtype),
        )
        for name, (default, spec) in parameters.items()
    )

    def function(*args, **kwargs):
        return method(**signature.bind(*args, **kwargs).arguments)

    function.__name__ = method.__name__
    function.__doc__ = method.__doc__
    function.__signature__ = signature
    return tf.function(function, input_signature=specs, autograph=False)


def checked(options):
    """Settings of `samplers.settings`, or an error that says which cannot be."""
    bounds = {
        "temperature": (0.0, float("inf")),
        "top_p": (0.0, 1.0),
        "min_p": (0.0, 1.0),
        "repetition_penalty": (1e-6, float("inf")),
    }
    checks = [
        tf.debugging.Assert(  # of NaN neither is true
            tf.reduce_all((options[name] >= least) & (options[name] <= most)),
            [f"{name} is not between {least:g} and {most:g}:", options[name]],
        )
        for name, (least, most) in bounds.items()
    ]
    with tf.control_dependencies(checks):
        return {name: tf.identity(options[name]) for name in samplers.DEFAULTS}
