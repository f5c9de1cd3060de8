import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.tiny import (
    FAMILIES,
    PROMPTS,
    SAMPLING,
    BytesTokenizer,
    family,
    one_quick,
    text_model,
)
from trainers.export import teacher_forced_logits
from trainers.exported import state_of
from trainers.prompts import before_stop
from trainers.text_model import TextModel
from zoo import DecoderLM

tokenizer = BytesTokenizer()


@pytest.fixture(params=FAMILIES, scope="module")
def each(request):
    return text_model(request.param)


@pytest.fixture(scope="module")
def decoder():
    return text_model("decoder_lm")


def test_prompts_of_unequal_length_get_what_each_gets_alone(each):
    together = each.generate(PROMPTS, max_new_tokens=12)
    assert together["text"].shape == together["log_probabilities"].shape == (len(PROMPTS), 1)
    for row, prompt in enumerate(PROMPTS):
        alone = each.generate([prompt], max_new_tokens=12)
        assert together["text"][row] == alone["text"][0]
        np.testing.assert_allclose(
            together["log_probabilities"][row], alone["log_probabilities"][0], atol=1e-4
        )


def test_each_prompt_may_have_settings_of_its_own(each):
    settings = {
        "max_new_tokens": [12, 3, 0, 50],
        "temperature": [1.0, 0.0, 1.0, 0.7],
        "top_k": [9, 0, 5, 0],
        "top_p": [0.95, 1.0, 1.0, 0.8],
        "min_new_tokens": [4, 0, 0, 30],
        "repetition_penalty": [1.0, 1.3, 1.0, 1.1],
        "top_logprobs": [0, 2, 0, 0],
        "seed": [7, 7, 8, 9],
    }
    together = each.generate(PROMPTS, num_return_sequences=2, **settings)
    for row, prompt in enumerate(PROMPTS):
        own = {name: values[row] for name, values in settings.items()}
        alone = each.generate([prompt], num_return_sequences=2, **own)
        np.testing.assert_array_equal(together["text"][row], alone["text"][0])
        np.testing.assert_array_equal(together["num_tokens"][row], alone["num_tokens"][0])
    assert (together["num_tokens"].numpy() <= np.array(settings["max_new_tokens"])[:, None]).all()


def test_streaming_gives_the_texts_of_generate(each):
    expected = each.generate(PROMPTS, max_new_tokens=10, seed=4, **SAMPLING)
    state = each.start(PROMPTS, max_new_tokens=10, seed=4, **SAMPLING)
    texts = [state["text"].numpy()]
    np.testing.assert_array_equal(state["num_tokens"], 1)
    while not state["ended"].numpy().all():
        state = each.next(state_of(state), steps=3)
        texts.append(state["text"].numpy())
    np.testing.assert_array_equal(texts[-1], expected["text"][:, 0])
    np.testing.assert_allclose(
        state["log_probabilities"], expected["log_probabilities"][:, 0], atol=1e-4
    )
    assert len(texts[0][0]) < len(texts[-1][0])


def test_requests_join_and_leave_a_running_batch_and_get_what_they_get_alone(each):
    """Three rows: one from the start, one that joins with a longer prompt, one that is ended."""
    options = {"temperature": 1.0, "seed": 9}
    first = each.start(["hello", "", "ended"], max_new_tokens=8, **options)
    state = state_of(each.next(state_of(first), steps=1))
    state = each.end(state, [2])
    joins = state_of(each.start([PROMPTS[1]], max_new_tokens=20, top_k=3, **options))
    state = each.next(each.join(state, joins, [1]), steps=99)
    alone = each.generate(["hello", "", "ended"], max_new_tokens=8, **options)
    assert state["text"][0] == alone["text"][0, 0]
    np.testing.assert_array_equal(state["tokens"][2, :2], alone["tokens"][2, 0, :2])
    assert state["num_tokens"][2] == 2 and not state["finished"][2]
    joined = each.generate([PROMPTS[1]], max_new_tokens=20, top_k=3, **options)
    assert state["text"][1] == joined["text"][0, 0]
    assert state["ended"].numpy().all()


def test_a_text_may_be_forced_to_begin_with_a_given_one(each):
    found = each.generate(PROMPTS, max_new_tokens=6, forced=["ab"])
    for row, prompt in enumerate(PROMPTS):
        assert found["text"][row, 0].numpy().startswith(b"ab")
        drawn = found["tokens"][row, 0].numpy()
        whole = np.concatenate([tokenizer.encode("ab"), drawn])
        logits = teacher_forced_logits(each, each.model, tokenizer.encode(prompt), whole)[2:]
        expected = np.take_along_axis(tf.nn.log_softmax(logits).numpy(), drawn[:, None], 1)
        count = found["num_tokens"][row, 0]
        gained = found["token_log_probabilities"][row, 0, :count]
        np.testing.assert_allclose(gained, expected[:count, 0], atol=1e-3)
    one = each.generate(PROMPTS[:2], max_new_tokens=6, forced=["ab", ""])["text"]
    assert one[0] == found["text"][0]
    assert one[1] == each.generate(PROMPTS[1:2], max_new_tokens=6)["text"][0]


def test_alternatives_are_the_likeliest_tokens_of_each_place(each):
    found = each.generate(["hello"], max_new_tokens=4, top_logprobs=20)
    tokens = found["tokens"][0, 0].numpy()
    logits = teacher_forced_logits(each, each.model, tokenizer.encode("hello"), tokens)
    expected = np.sort(tf.nn.log_softmax(logits).numpy(), axis=1)[:, :-21:-1]
    np.testing.assert_allclose(found["top_log_probabilities"][0, 0], expected, atol=1e-3)
    np.testing.assert_array_equal(found["top_tokens"][0, 0, :, 0], logits.argmax(1))


def test_beam_search_finds_texts_whose_score_is_theirs(each):
    found = each.beam_search(PROMPTS, max_new_tokens=6, num_beams=3, num_return_sequences=2)
    assert found["text"].shape == found["scores"].shape == (4, 2)
    assert (found["scores"][:, 0] >= found["scores"][:, 1]).numpy().all()
    greedy = each.generate(PROMPTS, max_new_tokens=6)
    for row, prompt in enumerate(PROMPTS):
        tokens = found["tokens"][row, 0].numpy()
        length = np.count_nonzero(tokens)
        length += length < 6  # the ending token
        tokens = tokens[:length]
        logits = teacher_forced_logits(each, each.model, tokenizer.encode(prompt), tokens)
        gained = np.take_along_axis(tf.nn.log_softmax(logits).numpy(), tokens[:, None], 1).sum()
        np.testing.assert_allclose(found["log_probabilities"][row, 0], gained, atol=1e-3)
        np.testing.assert_allclose(found["scores"][row, 0], gained / length, atol=1e-3)
    one = each.beam_search(PROMPTS, max_new_tokens=6, num_beams=1)
    np.testing.assert_array_equal(one["text"], greedy["text"])


@pytest.mark.parametrize("name", one_quick(FAMILIES))
def test_numbers_compiled_by_xla_are_those_of_plain_tensorflow(name):
    compiled, plain = text_model(name, xla=True), text_model(name)
    options = {**SAMPLING, "seed": 2, "max_new_tokens": 12, "top_logprobs": 2, "min_p": 0.01}
    found, expected = (each.generate(PROMPTS, **options) for each in (compiled, plain))
    np.testing.assert_array_equal(found["text"], expected["text"])
    for key in ("token_log_probabilities", "top_log_probabilities"):
        np.testing.assert_allclose(found[key], expected[key], atol=1e-3)
    programs = compiled.programs.advance.experimental_get_tracing_count()
    compiled.generate(PROMPTS, max_new_tokens=12, frequency_penalty=1.0)
    assert compiled.programs.advance.experimental_get_tracing_count() == programs


@pytest.mark.slow
def test_beam_search_compiled_by_xla_finds_what_plain_tensorflow_finds():
    compiled, plain = text_model("encoder_decoder", xla=True), text_model("encoder_decoder")
    options = {"max_new_tokens": 8, "num_beams": 3, "num_return_sequences": 3}
    found, expected = (each.beam_search(PROMPTS, **options) for each in (compiled, plain))
    np.testing.assert_array_equal(found["text"], expected["text"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-3)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"temperature": -1.0}, "temperature is not between 0 and inf"),
        ({"temperature": float("nan")}, "temperature is not between"),
        ({"top_p": 1.5}, "top_p is not between 0 and 1"),
        ({"min_p": -0.1}, "min_p is not between 0 and 1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is not between"),
    ],
)
def test_settings_that_cannot_be_are_refused(decoder, options, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decoder.generate(["a"], **options)


def test_a_prompt_that_is_too_long_is_an_error_where_it_must_not_be_shortened(each):
    fits, longer = ("a" * 40, "a" * 90)
    assert each.generate([fits], max_new_tokens=4, truncate=False)["text"].shape == (1, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more tokens than the 64"):
        each.generate([fits, longer], max_new_tokens=4, truncate=False)


def test_log_probabilities_are_those_of_the_unmodified_model(each):
    drawn = each.generate(["hello"], max_new_tokens=12, seed=1, **SAMPLING)
    tokens = drawn["tokens"][0, 0].numpy()
    logits = teacher_forced_logits(each, each.model, tokenizer.encode("hello"), tokens)
    expected = np.take_along_axis(tf.nn.log_softmax(logits).numpy(), tokens[:, None], 1).sum()
    np.testing.assert_allclose(drawn["log_probabilities"], [[expected]], atol=1e-3)


def test_sequences_of_a_prompt_differ_and_a_seed_repeats_them(decoder):
    options = {"max_new_tokens": 12, "temperature": 1.0, "num_return_sequences": 3}
    first = decoder.generate(["a", "a"], seed=3, **options)["text"].numpy()
    assert first.shape == (2, 3)
    assert len(set(first.ravel())) == 6
    np.testing.assert_array_equal(decoder.generate(["a", "a"], seed=3, **options)["text"], first)
    assert (decoder.generate(["a", "a"], seed=4, **options)["text"].numpy() != first).all()


def test_a_prompt_is_read_as_the_model_was_trained_to():
    def read(name):
        prompts = text_model(name, max_length=5, prefix="<", suffix=">").prompts
        source = {key: value.numpy() for key, value in prompts.source(tf.constant(["ab"])).items()}
        return prompts.read(tf.constant(["ab"])).to_list(), source

    ids = list(tokenizer.encode("<ab>"))
    assert read("decoder_lm") == ([[0, *ids]], {})
    assert read("lstm_lm") == ([[0, *ids, 0]], {})
    tokens, source = read("encoder_decoder")
    assert tokens == [[0]]
    np.testing.assert_array_equal(source["source"][0, :6], [*ids, 0, 0])
    np.testing.assert_array_equal(source["source_segments"][0, :6], [1, 1, 1, 1, 1, 0])


def test_too_long_prompts_keep_their_last_tokens(each):
    ends = "the same ending of prompts that is longer than their context of 64"
    texts = each.generate([30 * "x" + ends, 90 * "y" + ends], max_new_tokens=8)
    assert texts["text"][0] == texts["text"][1]
    assert texts["log_probabilities"][0] == texts["log_probabilities"][1]


def test_new_tokens_fit_the_context_and_leave_the_prompt_half_of_it(decoder):
    # <eos> and 9 tokens; the last token drawn need not be read.
    assert decoder.generate(["p" * 9], max_new_tokens=500)["tokens"].shape[-1] == 64 + 1 - 10
    assert decoder.generate(["p" * 99], max_new_tokens=500)["tokens"].shape[-1] == 32
    assert decoder.generate(["p" * 99], max_new_tokens=3)["tokens"].shape[-1] == 3
    assert decoder.generate(["p"], max_new_tokens=0)["text"] == b""


def test_no_prompts_are_no_texts(decoder):
    assert decoder.generate(tf.constant([], tf.string))["text"].shape == (0, 1)


def test_learned_positions_bound_the_length():
    model = DecoderLM(257, num_layers=1, width=16, positions="learned", context_length=32)
    with pytest.raises(ValueError, match="max_length 33 is more than the 32 positions"):
        TextModel(model, tokenizer, "language_modelling", 33)
    module = TextModel(model, tokenizer, "language_modelling", 32)
    assert module.generate(["p" * 99], max_new_tokens=20)["tokens"].shape[-1] <= 20


def test_layouts_that_do_not_fit_are_refused():
    model, _ = family("encoder_decoder")
    for layout, message in [("language_modelling", "reads a source"), ("chat", "none of")]:
        with pytest.raises(ValueError, match=message):
            TextModel(model, tokenizer, layout, 64)


def test_text_ends_before_the_first_of_the_stop_strings():
    texts = tf.constant(["abcd", "", "xaby", "a b\n\nc", "ää|ö"])

    def stopped(*stop):
        return [text.decode() for text in before_stop(texts, tf.constant(stop, tf.string)).numpy()]

    assert stopped() == ["abcd", "", "xaby", "a b\n\nc", "ää|ö"]
    assert stopped("\n\n", "") == ["abcd", "", "xaby", "a b", "ää|ö"]
    assert stopped("ab", "xa", "|") == ["", "", "", "a b\n\nc", "ää"]


def test_generate_stops_its_text_at_a_stop_string(decoder):
    text = decoder.generate(["hello"], max_new_tokens=30)["text"].numpy()[0, 0].decode()
    stop = text[4:6]
    stopped = decoder.generate(["hello", "you"], max_new_tokens=30, stop=[stop])
    assert stopped["text"].numpy()[0, 0].decode() == text[: text.index(stop)]
    # It is finished with the token that completed the stop string; the other row goes on.
    tokens = decoder.generate(["hello"], max_new_tokens=30)["tokens"][0, 0]
    fewest = next(i for i in range(30) if stop in tokenizer.decode(tokens[:i].numpy()))
    assert stopped["num_tokens"][0, 0] == fewest
    assert stopped["finished"][0, 0]
    alone = decoder.generate(["you"], max_new_tokens=30, stop=[stop])
    assert stopped["num_tokens"][1, 0] == alone["num_tokens"][0, 0] != fewest


def test_tokenize_and_detokenize_are_the_tokenizers(decoder):
    tokenized = decoder.tokenize(PROMPTS)
    np.testing.assert_array_equal(tokenized["num_tokens"], [5, 44, 0, 2])
    assert decoder.detokenize(tokenized["tokens"])["text"].numpy().tolist() == [
        prompt.encode() for prompt in PROMPTS
    ]
