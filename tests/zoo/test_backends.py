"""The zoo is plain Keras: no backend is named in it, and each gives the same numbers."""

import ast
import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import zoo
from tests.zoo.numbers import numbers

BACKENDS = {"tensorflow", "jax", "torch", "openvino"}
FILES = sorted(pathlib.Path(zoo.__file__).parent.rglob("*.py"))


def imported(path):
    """The packages that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


def test_the_zoo_imports_no_backend_and_nothing_of_the_trainers():
    found = {name for path in FILES for name in imported(path)}
    assert {"keras", "zoo"} <= found
    assert not found & (BACKENDS | {"trainers", "gin"})


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this is JAX")
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_jax_gives_the_same_logits_and_gradients(tmp_path):
    path = tmp_path / "jax.npz"
    subprocess.run(
        [sys.executable, "-m", "tests.zoo.numbers", path],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=pathlib.Path(zoo.__file__).parent.parent,
        check=True,
    )
    found, expected = np.load(path), numbers()
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5, rtol=1e-5, err_msg=name)
