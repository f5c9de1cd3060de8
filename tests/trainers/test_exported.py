import pytest
import tensorflow as tf

from trainers import generation_options
from trainers.exported import ExportedModel, by_length, check_functions


@pytest.fixture(scope="module")
def export(exports):
    return ExportedModel(exports["decoder_lm"])


@pytest.fixture(scope="module")
def answering(exports):
    return ExportedModel(exports["encoder_decoder"])


def generate(export, *prompts, **options):
    options = generation_options.read({"max_new_tokens": 8, **options}, sampled=False)
    return dict(export.generate(list(prompts), options))


def test_places_of_like_length_are_together_each_once():
    texts = ["aaa", "b", "éé", "", "cc"]
    assert list(by_length(texts, 2)) == [[2, 0], [4, 1], [3]]
    assert list(by_length([], 2)) == []


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 3.0, "min_p": 0.3},
        {"temperature": 3.0, "top_k": 7, "top_p": 0.5},
        {"temperature": 1.5, "repetition_penalty": 3.0},
        {"temperature": 1.5, "presence_penalty": 4.0, "frequency_penalty": 9.0},
        {"temperature": 1.5, "min_new_tokens": 8, "truncation": False},
    ],
)
def test_options_reach_the_export_by_name(export, options):
    names = {"truncation": "truncate"}
    given = {"top_k": 50, **{names.get(name, name): value for name, value in options.items()}}
    expected = export.functions.generate(["hello"], max_new_tokens=8, seed=5, **given)
    (found,) = generate(export, "hello", seed=5, **options)[0]
    assert found.text == expected["text"].numpy()[0, 0].decode()
    assert found.log_probability == pytest.approx(float(expected["log_probabilities"][0, 0]))


def test_beams_are_those_of_the_export_the_best_first(answering):
    options = {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 0.5}
    expected = answering.functions.beam_search(["hello"], max_new_tokens=8, **options)
    found = generate(answering, "hello", **options)[0]
    assert [one.text.encode() for one in found] == expected["text"].numpy()[0].tolist()
    likelihoods = expected["log_probabilities"].numpy()[0]
    assert [one.log_probability for one in found] == pytest.approx(likelihoods)
    early = {
        name: generate(answering, "hello", num_beams=4, early_stopping=name)[0]
        for name in (True, "never")
    }
    expected = answering.functions.beam_search(["hello"], max_new_tokens=8, early_stopping=True)
    assert early[True][0].text.encode() == expected["text"].numpy()[0, 0]
    expected = answering.functions.beam_search(["hello"], max_new_tokens=8, exhaustive=True)
    assert early["never"][0].text.encode() == expected["text"].numpy()[0, 0]


def test_beams_that_were_not_found_are_left_out(answering):
    found = generate(answering, "hello", num_beams=300, num_return_sequences=300, max_new_tokens=1)
    assert 0 < len(found[0]) <= 257
    assert all(one.log_probability > -1e9 for one in found[0])


def test_beams_are_cut_before_a_stop_string(answering):
    whole = generate(answering, "hello", num_beams=2)[0][0].text
    cut = generate(answering, "hello", num_beams=2, stop=whole[2])[0][0].text
    assert cut == whole[: whole.index(whole[2])]


def test_answers_begin_as_they_are_told_to(export):
    found = generate(export, "hello", "you", answer_prefix=["ab", "c"])
    assert [found[i][0].text[: 2 - i] for i in (0, 1)] == ["ab", "c"]
    one = generate(export, "hello", "you", answer_prefix="ab")
    assert one[0] == generate(export, "hello", answer_prefix="ab")[0]
    assert generate(export, "you", answer_prefix="x", num_beams=2)[0][0].text.startswith("x")
    with pytest.raises(ValueError, match="1 strings for 2 prompts"):
        generate(export, "hello", "you", answer_prefix=["ab"])


def test_a_prompt_that_is_too_long_is_shortened_or_refused(export):
    assert generate(export, "a" * 100)[0][0].text
    with pytest.raises(ValueError, match="shorten it, or set truncation=True"):
        generate(export, "a" * 100, truncation=False)
    with pytest.raises(ValueError, match="more than the 64 tokens"):
        export.score(["a"], ["b" * 100])


@pytest.mark.parametrize("family", ["decoder_lm", "lstm_lm", "encoder_decoder"])
def test_a_prompt_fits_exactly_where_it_is_not_shortened(exports, family):
    export = ExportedModel(exports[family])
    longest = next(n for n in range(64, 0, -1) if export.fits("a" * n, 8))
    assert generate(export, "a" * longest, truncation=False)
    with pytest.raises(ValueError):
        generate(export, "a" * (longest + 1), truncation=False)


def test_scores_come_in_the_order_asked_whatever_the_batches(export):
    pairs = ["hello", "a", "you there"], [" x", "yz", "w"]
    scores = export.score(*pairs, batch_size=2)
    expected = export.functions.score(*map(tf.constant, pairs))["log_probabilities"]
    assert scores == pytest.approx(expected.numpy().tolist(), rel=1e-4)


def test_an_older_export_is_told_apart(tmp_path):
    module = tf.Module()
    module.generate = tf.function(lambda: tf.constant(1), input_signature=[])
    tf.saved_model.save(module, str(tmp_path))
    with pytest.raises(ValueError, match="as older ones"):
        ExportedModel(str(tmp_path))


def test_an_older_export_whose_start_draws_nothing_is_told_apart(tmp_path):
    module = tf.Module()
    strings = tf.TensorSpec([None], tf.string)
    module.start = tf.function(lambda prompts: {"state_0": prompts}, input_signature=[strings])
    tf.saved_model.save(module, str(tmp_path))
    with pytest.raises(
        ValueError, match="'start' that draws nothing, as older ones; make it again"
    ):
        check_functions(tf.saved_model.load(str(tmp_path)), ["start"], str(tmp_path))
