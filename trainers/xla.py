"""Whether compiling with XLA pays, on this machine at this precision; and single functions compiled."""

import functools

import keras
import tensorflow as tf


def use_xla(choice, dtype=None):
    """Whether to compile: `choice`, or for "auto" whether it pays here.

    Args:
      choice: True, False or "auto".
      dtype: what is computed in; None for the compute dtype of Keras' policy.

    In bfloat16 XLA's CPU backend loses the gain of the oneDNN kernels, if the processor has
    instructions for them.
    """
    if choice != "auto":
        return choice
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    dtype = dtype or keras.config.dtype_policy().compute_dtype
    return on_gpu or dtype != "bfloat16" or not computes_bfloat16()


def computes_bfloat16(cpuinfo="/proc/cpuinfo"):
    """Whether the processor multiplies in bfloat16, as far as Linux says."""
    try:
        with open(cpuinfo, encoding="utf-8") as file:
            return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(file.read().split()))
    except OSError:
        return False


@functools.cache
def kernel(function, **settings):
    """A function of arrays, compiled for itself, and so its gradient: see `zoo.layers.fusion`.

    Nothing but its arguments is kept for the gradient, which computes the rest once more. All is
    computed in float32: XLA's CPU backend rounds between the operations of a narrower type, and
    takes longer over that than over the operations.
    """

    plain = functools.partial(function, **settings)

    def wide(arrays):
        found = plain(*(widened(array) for array in arrays))
        return tf.nest.map_structure(tf.cast, found, dtypes_of(plain, arrays))

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def forward(arrays):
        return wide(arrays)

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def backward(upstream, arrays):
        floating = [array for array in arrays if array.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(floating)
            found = wide(arrays)
        return tape.gradient(tf.nest.flatten(found), floating, output_gradients=upstream)

    @tf.custom_gradient
    def differentiable(*arrays):
        def gradient(*upstream):
            found = iter(backward(upstream, arrays))
            return [next(found) if array.dtype.is_floating else None for array in arrays]

        return forward(arrays), gradient

    return lambda *arrays: differentiable(*(tf.convert_to_tensor(array) for array in arrays))


def widened(array):
    return tf.cast(array, tf.float32) if array.dtype.is_floating else array


def dtypes_of(function, arrays):
    """Of what a function returns: a nest."""
    specs = [tf.TensorSpec(array.shape, array.dtype) for array in arrays]
    found = tf.function(function, autograph=False).get_concrete_function(*specs)
    return tf.nest.map_structure(lambda spec: spec.dtype, found.structured_outputs)
