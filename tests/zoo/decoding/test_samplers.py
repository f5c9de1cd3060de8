import numpy as np
import pytest
import tensorflow as tf

from zoo.decoding import samplers

PROBABILITIES = np.array([0.15, 0.5, 0.05, 0.3])
ROWS = 4000


def draw(probabilities=PROBABILITIES, temperature=1.0, top_k=0, top_p=1.0, seed=(0, 0)):
    """Tokens drawn in many rows of the same distribution."""
    logits = np.tile(np.log(probabilities).astype("float32"), (ROWS, 1))
    return np.asarray(samplers.sample(logits, temperature, top_k, top_p, np.array(seed, "int32")))


def frequencies(tokens):
    return np.bincount(tokens, minlength=len(PROBABILITIES)) / ROWS


def test_temperature_zero_takes_the_likeliest_token():
    assert set(draw(temperature=0.0)) == {1}


def test_plain_sampling_follows_the_distribution_with_noise_of_its_own_on_each_row():
    np.testing.assert_allclose(frequencies(draw()), PROBABILITIES, atol=0.03)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_is_an_exponent_of_the_probabilities(temperature):
    expected = PROBABILITIES ** (1 / temperature)
    drawn = frequencies(draw(temperature=temperature))
    np.testing.assert_allclose(drawn, expected / expected.sum(), atol=0.03)


@pytest.mark.parametrize("options", [{"top_k": 2}, {"top_p": 0.6}])
def test_filters_keep_the_likeliest_tokens_in_their_proportions(options):
    np.testing.assert_allclose(frequencies(draw(**options)), [0, 5 / 8, 0, 3 / 8], atol=0.03)


@pytest.mark.parametrize(
    "options, kept",
    [
        ({"top_k": 1}, {1}),
        ({"top_k": 9}, {0, 1, 2, 3}),
        ({"top_p": 0.0}, {1}),
        ({"top_p": 0.45}, {1}),
        ({"top_p": 0.9}, {0, 1, 3}),
        ({"top_k": 3, "top_p": 0.8}, {1, 3}),  # 0.5 / 0.95 and 0.3 / 0.95 pass 0.8 together
    ],
)
def test_filters_keep_the_fewest_tokens_that_qualify(options, kept):
    assert set(draw(**options)) == kept


def test_top_k_draws_k_tokens_also_among_equals():
    assert len(set(draw(np.full(4, 0.25), top_k=2))) == 2


def test_no_filter_means_none_even_for_very_unlikely_tokens():
    probabilities = np.array([1e-3] * 3 + [1 - 3e-3])
    assert set(draw(probabilities, top_k=0, top_p=1.0)) == {0, 1, 2, 3}
    assert set(draw(probabilities, top_k=4, top_p=1.0)) == {0, 1, 2, 3}


@pytest.mark.parametrize("options", [{}, {"top_k": 3}])
def test_a_seed_decides_the_tokens(options):
    first = draw(seed=(5, 1), **options)
    np.testing.assert_array_equal(first, draw(seed=(5, 1), **options))
    assert (first != draw(seed=(5, 2), **options)).any()
    assert (first != draw(seed=(6, 1), **options)).any()


def test_one_graph_serves_all_parameters():
    specs = ([None, 4], "float32"), ([], "float32"), ([], "int32"), ([], "float32"), ([2], "int32")
    graph = tf.function(samplers.sample, input_signature=[tf.TensorSpec(*spec) for spec in specs])
    logits = np.log(PROBABILITIES)[None].astype("float32")
    for temperature, top_k, top_p in [(0.0, 0, 1.0), (1.0, 1, 1.0), (1.0, 0, 0.1), (0.01, 3, 0.9)]:
        assert graph(logits, temperature, top_k, top_p, [0, 0]).numpy() == [1]
