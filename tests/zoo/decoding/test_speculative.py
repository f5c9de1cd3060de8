import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tests.zoo.decoding.test_loop import RESULTS, SOURCE_FEATURES, assert_same_rows
from tests.zoo.decoding.test_samplers import chi_square
from zoo import LSTMLM, DecoderLM, EncoderDecoder
from zoo.decoding import loop, samplers, speculative

V = 23
ROOM = 12  # tokens that a row may draw, and no more slots than they need
PROMPTS = [[0, 4, 9, 2, 7], [0, 3], [0], [0, 9, 9, 1], [0, 8, 6]]
PADDING = np.array([5 - len(prompt) for prompt in PROMPTS], "int32")
PADDED = np.array([[0] * (5 - len(prompt)) + prompt for prompt in PROMPTS], "int32")
BUILD = {
    "decoder_lm": lambda size: DecoderLM(size, num_layers=2, width=16, num_kv_heads=2),
    "window": lambda size: DecoderLM(size, num_layers=2, width=16, window=4, short_convolution=3),
    "learned": lambda size: DecoderLM(
        size, num_layers=1, width=16, positions="learned", context_length=4 + ROOM
    ),
    "lstm_lm": lambda size: LSTMLM(size, width=16),
    "encoder_decoder": lambda size: EncoderDecoder(size, num_layers=2, width=16),
    "relative": lambda size: EncoderDecoder(size, num_layers=1, width=16, positions="relative"),
}
LIKE = "like itself"
PAIRS = [
    ("decoder_lm", "lstm_lm"),
    ("decoder_lm", LIKE),
    ("window", "decoder_lm"),
    ("learned", "lstm_lm"),
    ("learned", LIKE),
    ("encoder_decoder", "relative"),
    ("relative", LIKE),
]


@functools.cache
def make(name, seed=0, noise=0.0, vocabulary_size=V):
    """A model far from uniform, so that tokens differ; `noise` makes another much like it."""
    keras.utils.set_random_seed(seed)
    model = BUILD[name](vocabulary_size)
    for weight in model.weights:
        weight.assign(0.5 * keras.random.normal(weight.shape))
    for weight in model.weights if noise else ():
        weight.assign_add(noise * keras.random.normal(weight.shape))
    return model


def make_pair(target, draft, vocabulary_size=V):
    as_draft = {"noise": 0.03} if draft == LIKE else {"seed": 1}
    name = target if draft == LIKE else draft
    return (
        make(target, vocabulary_size=vocabulary_size),
        make(name, vocabulary_size=vocabulary_size, **as_draft),
    )


@pytest.fixture(params=PAIRS, ids=" by ".join)
def pair(request):
    return make_pair(*request.param)


def begun(model, draft, rows, limits, proposals, num_top=0, **options):
    rows = np.arange(5)[rows]
    features = {"padding": PADDING[rows]}
    if model.reads_source:
        features |= {name: part[rows % 3] for name, part in SOURCE_FEATURES.items()}
    options = {
        name: value[rows] if np.ndim(value) else value
        for name, value in {"min_new_tokens": 99, **options}.items()
    }
    settings = samplers.settings(len(rows), **options)
    settings["num_top"] = np.full(len(rows), num_top, "int32")
    limits = np.broadcast_to(np.array(limits, "int32"), [len(rows)])
    arguments = PADDED[rows], limits, np.zeros((len(rows), ROOM), "int32"), settings, features
    if draft is None:
        return loop.first(*loop.begin(model, *arguments))
    return loop.first(*speculative.begin(model, draft, *arguments, proposals=proposals))


@functools.cache
def program(model, draft, proposals):
    """`advance` in a graph: its small operations one by one would take minutes."""

    def advance(carry, max_steps):
        if draft is None:
            return loop.advance(model, carry, max_steps)
        return speculative.advance(model, draft, carry, max_steps, proposals)

    return tf.function(advance, autograph=False)


def advanced(model, draft, carry, max_steps=ROOM, proposals=4):
    # Traced once for any number of rows.
    carry = tf.nest.map_structure(tf.convert_to_tensor, carry)
    rows = tf.nest.map_structure(
        lambda part: tf.TensorSpec([None, *part.shape[1:]], part.dtype), carry
    )
    steps = tf.constant(max_steps)
    advance = program(model, draft, proposals).get_concrete_function(rows, steps)
    return advance(carry, steps)


def decode(model, draft=None, rows=slice(5), limits=ROOM, pieces=(ROOM,), proposals=4, **options):
    carry = begun(model, draft, rows, limits, proposals, **options)
    for max_steps in pieces:
        carry = advanced(model, draft, carry, max_steps, proposals)
    return {name: ops.convert_to_numpy(carry[name]) for name in RESULTS}


def steps(model, draft, proposals=4):
    """How often the model reads behind the prompt to decode a text of ROOM tokens."""
    carry, count = begun(model, draft, slice(1), ROOM, proposals), 0
    while not ops.convert_to_numpy(carry["ended"]).all():
        carry = advanced(model, draft, carry, 1, proposals)
        count += 1
    return count


SAMPLED = {
    "temperature": np.array([1.0, 0.7, 0.0, 2.0, 1.0], "float32"),
    "top_k": np.array([0, 5, 0, 0, 3], "int32"),
    "top_p": np.array([0.9, 1.0, 1.0, 0.95, 1.0], "float32"),
    "min_p": np.array([0.0, 0.0, 0.0, 0.01, 0.0], "float32"),
    "repetition_penalty": np.array([1.0, 1.3, 1.2, 1.0, 1.0], "float32"),
    "presence_penalty": np.array([0.5, 0.0, 0.0, 0.0, 0.2], "float32"),
    "frequency_penalty": np.array([0.0, 0.3, 0.0, 0.6, 0.0], "float32"),
    "min_new_tokens": np.array([0, 3, 99, 99, 6], "int32"),
    "seed": np.array([3, 4, 5, 6, 7], "int32"),
}


@pytest.mark.parametrize("options", [{"num_top": 3}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("rows", [slice(1), slice(5)], ids=["one", "five"])
def test_texts_and_their_log_probabilities_are_those_without_a_draft(pair, rows, options):
    model, draft = pair
    limits = [ROOM, ROOM, 7, ROOM, 1][rows]
    expected = decode(model, rows=rows, limits=limits, **options)
    assert_same_rows(decode(model, draft, rows, limits, **options), expected)


@pytest.mark.parametrize("proposals", [1, 7])
@pytest.mark.parametrize("names", [PAIRS[0], PAIRS[-1]], ids=" by ".join)
def test_any_number_of_proposals_and_any_pieces_give_the_same_texts(names, proposals):
    model, draft = make_pair(*names)
    found = decode(model, draft, pieces=[1, 2, 0, 1, ROOM], proposals=proposals, **SAMPLED)
    assert_same_rows(found, decode(model, **SAMPLED))


def test_rows_end_at_their_limit_or_in_the_middle_of_what_was_proposed():
    rows, limits = np.tile(np.arange(5), 12), np.tile([1, ROOM, 4, 0], 15)
    options = {"temperature": 2.0, "min_new_tokens": 0}
    for draft in (LIKE, "lstm_lm"):
        model, draft = make_pair("decoder_lm", draft)
        carries = []
        for each in (None, draft):
            carry = begun(model, each, rows, limits, 4, **options)
            carry["settings"]["seed"] = np.arange(60, dtype="int32")
            carry = advanced(model, each, carry)
            carries.append({name: ops.convert_to_numpy(carry[name]) for name in RESULTS})
        assert_same_rows(*carries)
        ended_early = carries[0]["finished"] & (carries[0]["count"] < limits)
        assert 3 < ended_early.sum() < 50 and carries[0]["ended"].all()


@pytest.mark.parametrize("target, proposals", [("decoder_lm", 1), ("relative", 4)])
def test_a_draft_that_is_always_right_saves_all_steps_that_can_be_saved(target, proposals):
    model = make(target)
    assert steps(model, None) == ROOM - 1
    assert steps(model, model, proposals) == -(-(ROOM - 1) // (proposals + 1))


def test_a_draft_that_is_often_right_saves_some_steps_and_a_bad_one_costs_none():
    model, like_it = make_pair("decoder_lm", LIKE)
    assert 3 < steps(model, like_it) < ROOM - 1
    _, other = make_pair("decoder_lm", "lstm_lm")
    assert steps(model, other) <= ROOM - 1


def test_steps_are_those_of_the_model_and_each_draws_at_least_a_token(pair):
    model, draft = pair
    for max_steps in (1, 2):
        count = decode(model, draft, pieces=[max_steps])["count"]
        assert (count > max_steps).all() and (count <= 1 + 5 * max_steps).all()
    model = make("relative")
    np.testing.assert_array_equal(decode(model, model, pieces=[1])["count"], 6)


def test_a_draft_goes_on_from_what_was_drawn_and_from_no_proposal_that_was_wrong(pair):
    model, draft = pair
    carry = advanced(model, draft, begun(model, draft, slice(5), ROOM, 4), 2)
    found, _ = draft.extend(carry["last"][:, None], carry["draft_state"])
    for row, prompt in enumerate(PROMPTS):
        # Truth: all that the row has, read at once.
        drawn = carry["tokens"][row, : int(carry["count"][row])]
        features = {"inputs": np.array([[*prompt, *ops.convert_to_numpy(drawn)]], "int32")}
        if draft.reads_source:
            features |= {name: part[[row % 3]] for name, part in SOURCE_FEATURES.items()}
        np.testing.assert_allclose(found[row, 0], draft(features)[0, -1], atol=1e-4)


def test_rows_that_join_a_batch_get_what_they_get_alone(pair):
    """A row that has taken two steps, and one that has taken none, side by side."""
    model, draft = pair
    carries = [begun(model, draft, [row], ROOM, 4) for row in (0, 3)]
    carries[0] = advanced(model, draft, carries[0], 2)
    both = keras.tree.map_structure(lambda *parts: ops.concatenate(parts, axis=0), *carries)
    both = advanced(model, draft, both)
    expected = decode(model)
    for row, place in ((0, 0), (1, 3)):
        np.testing.assert_array_equal(both["tokens"][row], expected["tokens"][place])
        np.testing.assert_allclose(both["gained"][row], expected["gained"][place], atol=1e-4)


@pytest.mark.parametrize("draft", [LIKE, "lstm_lm"])
def test_frequencies_with_a_draft_are_the_probabilities_of_the_model(draft):
    # Truth: the model, reading everything at once. 7 outcomes: the end, and two tokens after
    # each of which the end may come.
    model, draft = make_pair("decoder_lm", draft, vocabulary_size=3)
    rows = 2000
    settings = samplers.settings(rows, temperature=1.0, seed=np.arange(rows))
    settings["num_top"] = np.zeros(rows, "int32")
    prompts, limits = np.tile(np.array([[0, 1, 2]], "int32"), (rows, 1)), np.full(rows, 2, "int32")
    buffer = np.zeros((rows, 2), "int32")
    carry = loop.first(*speculative.begin(model, draft, prompts, limits, buffer, settings))
    tokens = ops.convert_to_numpy(advanced(model, draft, carry)["tokens"])

    inputs = np.array([[0, 1, 2, 1], [0, 1, 2, 2]], "int32")
    probabilities = ops.convert_to_numpy(ops.softmax(model({"inputs": inputs})))[:, 2:]
    first = probabilities[0, 0]
    expected = np.array([first, first[1] * probabilities[0, 1], first[2] * probabilities[1, 1]])
    expected[0, 1:] = 0
    outcomes = 3 * tokens[:, 0] + tokens[:, 1]
    statistic, freedom = chi_square(outcomes, expected.ravel())
    assert freedom == 6 and statistic < 27.86  # 99.99 % of the distribution


@pytest.mark.parametrize(
    "target, draft, message",
    [
        ("lstm_lm", "lstm_lm", "LSTMLM reads token by token"),
        ("decoder_lm", "encoder_decoder", "use a draft that reads no source"),
        ("encoder_decoder", "lstm_lm", "use a draft that reads a source"),
    ],
)
def test_models_that_do_not_fit_together_are_refused(target, draft, message):
    with pytest.raises(ValueError, match=message):
        begun(make(target), make(draft), slice(1), ROOM, 4)


def test_a_draft_of_another_vocabulary_and_no_proposals_are_refused():
    model = make("decoder_lm")
    with pytest.raises(ValueError, match="proposals 0 is not positive"):
        begun(model, model, slice(1), ROOM, 0)
    with pytest.raises(ValueError, match="a vocabulary of 24 tokens, the model one of 23"):
        begun(model, make("lstm_lm", vocabulary_size=24), slice(1), ROOM, 4)
