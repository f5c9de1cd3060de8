import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers import xla


@pytest.mark.parametrize(
    "flags, expected", [("fma avx512_bf16 amx_tile", True), ("fma avx2 avx512_bf16x", False)]
)
def test_the_processor_says_whether_it_multiplies_in_bfloat16(tmp_path, flags, expected):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : fpu {flags}\n")
    assert xla.computes_bfloat16(tmp_path / "cpuinfo") == expected
    assert not xla.computes_bfloat16(tmp_path / "missing")


@pytest.mark.parametrize("has_instructions", [True, False])
def test_auto_compiles_but_not_in_bfloat16_where_a_cpu_has_kernels_for_it(
    monkeypatch, has_instructions
):
    monkeypatch.setattr(xla.tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(xla, "computes_bfloat16", lambda: has_instructions)
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert xla.use_xla("auto") != has_instructions
    assert xla.use_xla(True) and not xla.use_xla(False)
    keras.config.set_dtype_policy("float32")
    assert xla.use_xla("auto")


def blend(x, y, chosen, *, scale):
    """Of two floating arrays and one that is none."""
    return tf.where(chosen, tf.exp(x) * y, scale * x) - x


def differentiated(function, x, y, chosen):
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        result = function(x, y, chosen)
    return [result, *tape.gradient(result, [x, y], output_gradients=tf.cos(result))]


def arguments(dtype):
    generator = np.random.default_rng(0)
    x, y = (tf.constant(generator.standard_normal((3, 50)), dtype) for _ in range(2))
    return x, y, tf.constant(generator.random(50) < 0.5)


@pytest.mark.parametrize("around", [lambda f: f, tf.function], ids=["eager", "in a graph"])
def test_a_kernel_and_its_gradient_are_those_of_the_function(around):
    found = around(lambda *arrays: differentiated(xla.kernel(blend, scale=3.0), *arrays))
    expected = differentiated(lambda *arrays: blend(*arrays, scale=3.0), *arguments("float32"))
    for each, other in zip(found(*arguments("float32")), expected, strict=True):
        np.testing.assert_allclose(each, other, rtol=1e-5, atol=1e-6)


def test_a_kernel_computes_in_float32_and_rounds_once():
    # Truth: the function of the same numbers in float32.
    narrow = arguments("bfloat16")
    found = differentiated(xla.kernel(blend, scale=3.0), *narrow)
    x, y, chosen = (xla.widened(array) for array in narrow)
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        result = blend(x, y, chosen, scale=3.0)
    upstream = tf.cast(tf.cos(tf.cast(result, "bfloat16")), "float32")
    expected = [result, *tape.gradient(result, [x, y], output_gradients=upstream)]
    for each, other in zip(found, expected, strict=True):
        assert each.dtype == "bfloat16"
        np.testing.assert_allclose(tf.cast(each, "float32"), other, rtol=2**-8, atol=1e-6)
    plain = tf.cast(blend(*narrow, scale=3.0), "float32")  # which rounds at every operation
    assert np.abs(plain - result).max() > 2 * np.abs(tf.cast(found[0], "float32") - result).max()


def parted(x, y, chosen):
    """Several results, one of them in float32 whatever comes in."""
    return {"sum": x + y, "square": (tf.cast(x, "float32") ** 2, chosen)}


def test_several_results_keep_their_dtypes_and_have_gradients():
    x, y, chosen = arguments("bfloat16")
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        found = xla.kernel(parted)(x, y, chosen)
        value = tf.reduce_sum(tf.cast(found["sum"], "float32") * 2) + tf.reduce_sum(
            found["square"][0]
        )
    assert tf.nest.map_structure(lambda part: part.dtype.name, found) == {
        "sum": "bfloat16",
        "square": ("float32", "bool"),
    }
    np.testing.assert_allclose(found["square"][0], tf.cast(x, "float32") ** 2, rtol=1e-6)
    of_x, of_y = tape.gradient(value, [x, y])
    assert of_x.dtype == of_y.dtype == "bfloat16"
    np.testing.assert_array_equal(of_x, tf.cast(2 + 2 * tf.cast(x, "float32"), "bfloat16"))
    np.testing.assert_array_equal(of_y, tf.fill(y.shape, tf.constant(2, "bfloat16")))


def test_a_function_has_one_kernel_for_each_setting():
    assert xla.kernel(blend, scale=3.0) is xla.kernel(blend, scale=3.0)
    assert xla.kernel(blend, scale=3.0) is not xla.kernel(blend, scale=2.0)
