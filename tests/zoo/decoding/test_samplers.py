import numpy as np
import pytest
import tensorflow as tf

from zoo.decoding import samplers

PROBABILITIES = np.array([0.15, 0.5, 0.05, 0.3])
ROWS = 4000


def draw(probabilities=PROBABILITIES, seed=0, count=0, answered=None, prompted=None, **options):
    """Tokens drawn in many rows of the same distribution, each by a seed of its own."""
    logits = np.tile(np.log(probabilities).astype("float32"), (ROWS, 1))
    options = {"temperature": 1.0, **options}
    settings = samplers.settings(ROWS, seed=np.arange(ROWS) + ROWS * seed, **options)
    none = np.zeros(len(probabilities), "int32")
    answered, prompted = (
        np.tile(none if tokens is None else np.array(tokens, "int32"), (ROWS, 1))
        for tokens in (answered, prompted)
    )
    counts = np.full(ROWS, count, "int32")
    return np.asarray(samplers.sample(logits, settings, counts, answered, prompted > 0))


def chi_square(tokens, expected):
    """Of the frequencies of tokens, and how many tokens could have been drawn less one."""
    found = np.bincount(tokens, minlength=len(expected))
    possible = expected > 0
    assert not found[~possible].any()
    expected = expected[possible] * len(tokens)
    return np.sum((found[possible] - expected) ** 2 / expected), possible.sum() - 1


# 99.99 % of the chi-square distribution with so many degrees of freedom (any table of it).
CRITICAL = {1: 15.14, 2: 18.42, 3: 21.11, 4: 23.51, 5: 25.74}


def assert_drawn_from(tokens, expected):
    statistic, freedom = chi_square(tokens, np.array(expected) / np.sum(expected))
    assert statistic < CRITICAL[freedom]


def test_temperature_zero_takes_the_likeliest_token():
    assert set(draw(temperature=0.0)) == {1}


@pytest.mark.parametrize(
    "options, weights",
    [
        ({}, PROBABILITIES),
        ({"temperature": 0.5}, PROBABILITIES**2),
        ({"temperature": 2.0}, PROBABILITIES**0.5),
        ({"top_k": 2}, [0, 0.5, 0, 0.3]),
        ({"top_k": 3}, [0.15, 0.5, 0, 0.3]),
        ({"top_p": 0.6}, [0, 0.5, 0, 0.3]),
        ({"top_k": 3, "top_p": 0.9}, [0.15, 0.5, 0, 0.3]),
        ({"min_p": 0.2}, [0.15, 0.5, 0, 0.3]),
        ({"min_p": 0.5}, [0, 0.5, 0, 0.3]),
        ({"top_p": 0.97, "temperature": 2.0, "min_p": 0.6}, [0, 0.5**0.5, 0, 0.3**0.5]),
        # The logit of what was said once or twice is less by so much.
        ({"presence_penalty": 0.7, "answered": [0, 2, 0, 1]}, [0.15, 0.5 / 2.0138, 0.05, 0.3 / 2.0138]),
        ({"frequency_penalty": 0.7, "answered": [0, 2, 0, 1]}, [0.15, 0.5 / 4.0552, 0.05, 0.3 / 2.0138]),
        # Logits of probabilities are negative: a penalty of 2 squares them.
        ({"repetition_penalty": 2.0, "answered": [0, 1, 0, 0], "prompted": [0, 0, 0, 1]}, [0.15, 0.25, 0.05, 0.09]),
        ({"min_new_tokens": 3, "count": 2}, [0, 0.5, 0.05, 0.3]),
        ({"min_new_tokens": 3, "count": 3}, PROBABILITIES),
    ],
)  # fmt: skip
def test_frequencies_are_the_probabilities_that_the_settings_make(options, weights):
    assert_drawn_from(draw(**options), weights)


@pytest.mark.parametrize(
    "options, kept",
    [
        ({"top_k": 1}, {1}),
        ({"top_k": 9}, {0, 1, 2, 3}),
        ({"top_p": 0.0}, {1}),
        ({"top_p": 0.45}, {1}),
        ({"top_p": 0.9}, {0, 1, 3}),
        ({"top_k": 3, "top_p": 0.8}, {1, 3}),  # 0.5 / 0.95 and 0.3 / 0.95 pass 0.8 together
        ({"min_p": 1.0}, {1}),
    ],
)
def test_filters_keep_the_fewest_tokens_that_qualify(options, kept):
    assert set(draw(**options)) == kept


def test_tokens_as_likely_as_the_last_that_is_kept_are_kept_too():
    assert set(draw(np.array([0.2, 0.4, 0.2, 0.2]), top_k=2)) == {0, 1, 2, 3}


def test_no_filter_means_none_even_for_very_unlikely_tokens():
    probabilities = np.array([1e-3] * 3 + [1 - 3e-3])
    assert set(draw(probabilities, top_k=0, top_p=1.0)) == {0, 1, 2, 3}
    assert set(draw(probabilities, top_k=4, top_p=1.0)) == {0, 1, 2, 3}


def test_a_positive_logit_is_divided_by_the_repetition_penalty():
    logits = np.array([[2.0, -2.0, 1.0]], "float32")
    settings = samplers.settings(1, repetition_penalty=2.0)
    found = samplers.penalised(logits, settings, np.array([[1, 1, 0]]), np.zeros((1, 3), bool))
    np.testing.assert_allclose(found, [[1.0, -4.0, 1.0]])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("k", [1, 7, 500, 1000])
def test_bisection_finds_what_sorting_finds(scale, k):
    logits = scale * np.random.default_rng(0).standard_normal((3, 1000)).astype("float32")
    logits[1, ::2] = samplers.FORBIDDEN
    settings = samplers.settings(3, top_k=k)
    kept = np.asarray(samplers.filtered(logits, settings)) > samplers.FORBIDDEN
    kept_by_sorting = logits >= np.sort(logits, axis=1)[:, -k, None]
    np.testing.assert_array_equal(kept, kept_by_sorting & (logits > samplers.FORBIDDEN))
    probabilities = np.exp(logits - logits.max(1, keepdims=True).astype("float64"))
    probabilities /= probabilities.sum(1, keepdims=True)
    settings = samplers.settings(3, top_p=0.8)
    kept = np.asarray(samplers.filtered(logits, settings)) > samplers.FORBIDDEN
    for row in range(3):
        ranked = np.argsort(-logits[row], kind="stable")
        fewest = np.searchsorted(np.cumsum(probabilities[row, ranked]), 0.8) + 1
        assert set(np.flatnonzero(kept[row])) == set(ranked[:fewest])


@pytest.mark.parametrize("options", [{}, {"top_k": 3}])
def test_seed_and_count_decide_the_tokens(options):
    first = draw(seed=5, count=1, **options)
    np.testing.assert_array_equal(first, draw(seed=5, count=1, **options))
    assert (first != draw(seed=5, count=2, **options)).any()
    assert (first != draw(seed=6, count=1, **options)).any()


def test_tokens_of_one_seed_are_independent_from_count_to_count():
    counts = [draw(count=count) for count in range(2)]
    pairs = len(PROBABILITIES) * counts[0] + counts[1]
    found = np.bincount(pairs, minlength=16) / ROWS
    np.testing.assert_allclose(found, np.outer(PROBABILITIES, PROBABILITIES).ravel(), atol=0.03)


def test_noise_has_the_moments_of_the_gumbel_distribution():
    noise = np.asarray(samplers.gumbel(np.arange(4) - 2, np.array([0, 0, 1, 2**31 - 1]), 50_000))
    np.testing.assert_allclose(noise.mean(axis=1), 0.5772, atol=0.03)  # Euler's constant
    np.testing.assert_allclose(noise.std(axis=1), np.pi / 6**0.5, atol=0.03)
    assert np.abs(np.corrcoef(noise) - np.eye(4)).max() < 0.02
    assert np.isfinite(noise).all()


def test_noise_is_finite_where_all_bits_are_set(monkeypatch):
    monkeypatch.setattr(samplers, "mixed", lambda bits: samplers.unsigned(bits) * 0 + 2**32 - 1)
    noise = np.asarray(samplers.gumbel(np.array([0]), np.array([0]), 3))
    np.testing.assert_allclose(noise, 24 * np.log(2), rtol=1e-6)


def test_what_is_left_out_is_not_drawn_whatever_the_noise():
    # Of this seed the bits of token 227 are all set but for some of the last.
    logits = np.zeros((1, 50_257), "float32")
    logits[0, 9] = 30.0
    settings = samplers.settings(1, temperature=[1.0], top_k=[1], seed=[533])
    none = np.zeros((1, 4), "int32")
    assert samplers.sample(logits, settings, np.array([0], "int32"), none, none > 0) == 9


def test_rows_have_settings_of_their_own_in_one_program():
    rows = [{"temperature": 0.0}, {"temperature": 1.0, "top_k": 1}, {"temperature": 9.0}]
    names = samplers.DEFAULTS
    values = {name: [row.get(name, names[name][1]) for row in rows] for name in names}
    settings = samplers.settings(3, **values)
    program = tf.function(samplers.sample, jit_compile=True)
    logits = np.tile(np.log(PROBABILITIES).astype("float32"), (3, 1))
    none = np.zeros((3, 4), "int32")
    drawn = {
        tuple(program(logits, settings, np.full(3, count, "int32"), none, none > 0).numpy())
        for count in range(20)
    }
    assert {row[:2] for row in drawn} == {(1, 1)}
    assert len({row[2] for row in drawn}) > 1
    assert program.experimental_get_tracing_count() == 1
