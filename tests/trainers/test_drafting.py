import keras
import numpy as np
import pytest

from tests.trainers.tiny import PROMPTS, SAMPLING, BytesTokenizer, family, one_quick
from trainers.exported import state_of
from trainers.text_model import TextModel

tokenizer = BytesTokenizer()


@pytest.fixture(params=one_quick(["decoder_lm", "encoder_decoder"]), scope="module")
def drafted(request):
    """(the same model without a draft and with one that is as often wrong as right)"""
    model, layout = family(request.param)
    draft, _ = family(request.param)
    for weight in draft.weights:
        weight.assign_add(0.02 * keras.random.normal(weight.shape, seed=1))
    return tuple(
        TextModel(model, tokenizer, layout, 64, **options) for options in ({}, {"draft": draft})
    )


EVERY_OPTION = {
    **SAMPLING,
    "max_new_tokens": 20,
    "num_return_sequences": 2,
    "seed": 5,
    "min_p": 0.001,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "min_new_tokens": 3,
    "top_logprobs": 2,
    "forced": ["ab"],
}


def assert_same_answers(found, expected):
    assert set(found) == set(expected)
    for name, values in expected.items():
        if values.dtype.is_floating:
            np.testing.assert_allclose(found[name], values, atol=1e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("options", [{"max_new_tokens": 30}, EVERY_OPTION])
def test_a_draft_changes_nothing_of_what_is_generated(drafted, options):
    plain, fast = drafted
    expected = plain.generate(PROMPTS, **options)
    assert_same_answers(fast.generate(PROMPTS, **options), expected)


def test_a_text_with_a_draft_ends_with_the_token_that_completes_a_stop_string(drafted):
    plain, fast = drafted
    for options in ({"max_new_tokens": 30}, EVERY_OPTION):
        texts = plain.generate(PROMPTS, **options)["text"].numpy()[:, 0]
        stops = [text.decode()[4 + 2 * row :][:2] for row, text in enumerate(texts)]
        expected = plain.generate(PROMPTS, stop=stops, **options)
        assert_same_answers(fast.generate(PROMPTS, stop=stops, **options), expected)
        assert len(set(expected["num_tokens"].numpy().ravel())) > 1


def test_rows_with_a_draft_stream_join_and_leave_as_those_without(drafted):
    plain, fast = drafted
    options = {"max_new_tokens": 20, "temperature": 1.0, "seed": 9}
    state = fast.end(state_of(fast.start(["hello", "", "ended"], **options)), [2])
    joins = state_of(fast.start([PROMPTS[1]], top_k=3, **options))
    state = fast.join(state, joins, [1])
    counts = []
    for _ in range(20):
        state = fast.next(state_of(state), steps=1)
        counts.append(state["num_tokens"].numpy()[:2])
    drawn = np.diff(counts, axis=0)
    assert drawn.min() == 0 and 1 < drawn.max() <= 5
    alone = plain.generate(["hello"], **options), plain.generate([PROMPTS[1]], top_k=3, **options)
    for row, expected in enumerate(alone):
        assert state["text"][row] == expected["text"][0, 0]
        np.testing.assert_allclose(
            state["log_probabilities"][row], expected["log_probabilities"][0, 0], atol=1e-3
        )
    assert state["ended"].numpy().all() and not state["finished"][2]


@pytest.mark.slow
def test_decoding_with_a_recurrent_draft_compiled_by_xla_gives_the_texts_without():
    model, layout = family("decoder_lm")
    draft, _ = family("lstm_lm")
    fast = TextModel(model, tokenizer, layout, 64, xla=True, draft=draft, proposals=2)
    plain = TextModel(model, tokenizer, layout, 64)
    expected = plain.generate(PROMPTS, **EVERY_OPTION)
    assert_same_answers(fast.generate(PROMPTS, **EVERY_OPTION), expected)


def test_a_draft_that_does_not_fit_is_refused():
    model, layout = family("decoder_lm")
    short, _ = family("decoder_lm", positions="learned", context_length=32)
    with pytest.raises(ValueError, match="max_length 64 is more than the 32 positions"):
        TextModel(model, tokenizer, layout, 64, draft=short)
    with pytest.raises(ValueError, match="use a draft that reads no source"):
        TextModel(model, tokenizer, layout, 64, draft=family("encoder_decoder")[0])
