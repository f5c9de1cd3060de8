import sys

import pytest


@pytest.fixture(autouse=True)
def float32_again():
    """A test that runs a recipe in half precision leaves Keras as it was."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")
