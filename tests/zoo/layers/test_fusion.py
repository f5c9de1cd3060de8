import numpy as np
import pytest

from zoo import DecoderLM, EncoderDecoder
from zoo.layers.fusion import fuse, fusing


def scaled(x, factor):
    return x * factor


def test_functions_are_left_alone_outside_and_compiled_inside():
    def compile(function, **settings):
        compiled.append((function, settings))
        return lambda x: -function(x, **settings)

    compiled = []
    assert fuse(scaled, 3, factor=2) == 6
    with fusing(compile):
        assert fuse(scaled, 3, factor=2) == -6
        with fusing(None):
            assert fuse(scaled, 3, factor=2) == 6
        assert fuse(scaled, 3, factor=2) == -6
    assert fuse(scaled, 3, factor=2) == 6
    assert compiled == [(scaled, {"factor": 2})] * 2


def test_an_array_that_is_none_is_left_out():
    assert fuse(lambda x, *rest: (x, rest), 3, None) == (3, ())


def test_what_is_outside_is_restored_after_an_error():
    with pytest.raises(ValueError, match="^within$"), fusing(lambda function: function):
        raise ValueError("within")
    assert fuse(scaled, 3, factor=2) == 6


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda: DecoderLM(16, 1, 8, 2, positions="learned", norm="layer", context_length=4), 4),
        (lambda: DecoderLM(16, 1, 8, 2, norm="rms", qk_norm=True, activation="swiglu"), 6),
        (lambda: EncoderDecoder(16, 1, width=8, num_heads=2), 10),
    ],
)
def test_models_hand_over_the_same_functions_at_every_call(make, expected):
    def compile(function, **settings):
        handed.append((function, tuple(settings.items())))
        return lambda *arrays: function(*arrays, **settings)

    model = make()
    features = {"inputs": np.ones((2, 4), "int32"), "source": np.ones((2, 4), "int32")}
    plain = model(features)
    seen = []
    for _ in range(2):
        handed = []
        with fusing(compile):
            np.testing.assert_array_equal(model(features), plain)
        seen.append(handed)
    assert seen[0] == seen[1]  # or each would be compiled anew
    assert len(seen[0]) >= expected
