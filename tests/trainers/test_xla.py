import keras
import pytest

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
