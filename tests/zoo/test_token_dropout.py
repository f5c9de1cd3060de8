"""Whole token vectors left out in training, in all of the zoo's own families."""

import numpy as np
import pytest
from keras import ops

from zoo import LSTMLM, DecoderLM, EncoderDecoder
from zoo.layers.dropout import step_seed

T = 12
MODELS = {
    "inputs": (LSTMLM, DecoderLM),
    "source": (EncoderDecoder,),
}


@pytest.mark.parametrize(
    "read, family", [(read, family) for read, families in MODELS.items() for family in families]
)
def test_what_a_token_left_out_was_makes_no_difference(read, family):
    model = family(23, num_layers=1, width=16, token_dropout=0.5)

    def hidden(tokens, training=True):
        features = {"inputs": np.ones((1, T), "int32"), read: tokens[None].astype("int32")}
        with step_seed(np.array([1, 2], "int32")):
            return ops.convert_to_numpy(model.hidden(features, training=training)[0])

    tokens = np.arange(1, T + 1)

    def differs(place, **options):
        other = tokens.copy()
        other[place] = 22
        return not np.array_equal(hidden(tokens, **options), hidden(other, **options))

    assert 2 <= sum(differs(place) for place in range(T)) <= T - 2
    assert all(differs(place, training=False) for place in range(T))
