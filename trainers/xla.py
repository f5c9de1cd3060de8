"""Whether compiling with XLA pays, on this machine at this precision."""

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
