import numpy as np
import pytest

from tests.zoo.models import example, logits_of, some_tokens
from zoo import EncoderDecoder

TINY = {"num_layers": 2, "num_encoder_layers": 1, "width": 8, "num_heads": 2}


@pytest.mark.parametrize("tying, tables", [("all", 1), ("target", 2), ("inputs", 2), ("none", 3)])
def test_tying_decides_the_number_of_tables(tying, tables):
    model = EncoderDecoder(10, tie_embeddings=tying, **TINY)
    norm, feed_forward = 2 * 8, (8 * 32 + 32) + (32 * 8 + 8)
    attention = 4 * (8 * 8 + 8)
    encoder = attention + feed_forward + 2 * norm
    decoder = 2 * attention + feed_forward + 3 * norm
    assert model.count_params() == tables * 10 * 8 + encoder + norm + 2 * decoder + norm


def test_post_norm_stacks_end_without_a_norm_of_their_own():
    first, after = (EncoderDecoder(10, norm_first=first, **TINY) for first in (True, False))
    assert first.count_params() - after.count_params() == 2 * (2 * 8)


def test_products_by_hand_count_each_source_token_once():
    model = EncoderDecoder(10, **TINY)
    attention, feed_forward = 4 * 8 * 8, 2 * 8 * 32
    S, T = 6, 3
    # Multiply-adds of the whole row. Scores and mixing take 8 each for a pair of tokens.
    encoder = S * (attention + feed_forward + 2 * 8 * S)
    cross = S * 2 * 8 * 8 + T * (2 * 8 * 8 + 2 * 8 * S)
    decoder = T * (attention + feed_forward + 2 * 8 * T) + cross
    softmax = T * 8 * 10
    assert model.matmul_flops_per_token(T, S) * T == 2 * (encoder + 2 * decoder + softmax)


def test_the_encoder_is_as_deep_as_the_decoder_unless_told():
    assert len(EncoderDecoder(10, num_layers=2, width=8).encoder) == 2
    assert len(EncoderDecoder(10, num_layers=2, num_encoder_layers=3, width=8).encoder) == 3


@pytest.mark.parametrize("scale_embeddings", [True, False])
def test_tied_logits_start_near_deviation_one(scale_embeddings):
    model = EncoderDecoder(
        500, num_layers=1, width=64, positions="none", scale_embeddings=scale_embeddings
    )
    logits = logits_of(model, {"inputs": some_tokens(2, 8), "source": some_tokens(2, 8)})
    assert 0.7 < logits.std() < 1.4


def test_the_encoder_looks_both_ways():
    model = EncoderDecoder(23, num_layers=1, width=16)
    source = some_tokens(1, 6)
    other = source.copy()
    other[0, 5] = other[0, 5] % 22 + 1
    first = [np.asarray(model.encode({"source": tokens}))[0, 0] for tokens in (source, other)]
    assert np.abs(first[0] - first[1]).max() > 1e-4


def test_decoding_reads_the_source_once():
    model = EncoderDecoder(23, num_layers=1, width=16)
    features = example(model, 4)
    state = model.start(1, 4, features)
    model.encode = None  # extend has no use for it
    logits, _ = model.extend(features["inputs"], state)
    assert logits.shape == (1, 4, 23)


def test_decoding_without_a_source_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="reads a source: `start` needs features with `source`"):
        EncoderDecoder(23, num_layers=1, width=16).start(1, 4)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": 130}, "width 130 is not divisible by 4 heads"),
        ({"width": 12}, "rotary positions need an even head width, not 3"),
        ({"positions": "alibi"}, "positions 'alibi' is none of 'learned', "),
        ({"positions": "learned"}, "learned positions need a context_length"),
        ({"norm": "batch"}, "norm 'batch' is none of 'layer', "),
        ({"activation": "tanh"}, "activation 'tanh' is none of 'relu', "),
        (
            {"tie_embeddings": True},
            "tie_embeddings True is none of 'all', 'target', 'inputs', 'none'",
        ),
        ({"dropout": 1.5}, r"dropout 1.5 is not in \[0, 1\)"),
        *(
            ({size: 0}, f"{size} 0 is not positive")
            for size in (
                "vocabulary_size",
                "num_layers",
                "num_encoder_layers",
                "width",
                "num_heads",
                "hidden_width",
                "context_length",
            )
        ),
    ],
)
def test_settings_that_make_no_model_are_refused_in_a_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        EncoderDecoder(**{"vocabulary_size": 23, "width": 16, **settings})
