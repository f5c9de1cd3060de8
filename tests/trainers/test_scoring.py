import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.tiny import FAMILIES, PROMPTS, BytesTokenizer, text_model
from trainers import chunked_loss
from trainers.export import teacher_forced_logits

tokenizer = BytesTokenizer()


@pytest.fixture(params=FAMILIES, scope="module")
def each(request):
    return text_model(request.param)


@pytest.fixture(scope="module")
def decoder():
    return text_model("decoder_lm")


def test_score_is_the_log_probability_of_the_text_token_by_token(each):
    continuations = ["what then", "", "ß"]
    scores = each.score(PROMPTS[:3], continuations)
    for row, (prompt, continuation) in enumerate(zip(PROMPTS, continuations, strict=False)):
        tokens = tokenizer.encode(continuation)
        if each.layout == "text_to_text":
            tokens = np.append(tokens, 0)
        count = len(tokens)
        assert scores["num_tokens"][row] == count
        expected = np.zeros(scores["token_log_probabilities"].shape[1])
        if count:
            logits = teacher_forced_logits(each, each.model, tokenizer.encode(prompt), tokens)
            log_probabilities = tf.nn.log_softmax(logits).numpy()
            expected[:count] = np.take_along_axis(log_probabilities, tokens[:, None], 1)[:, 0]
        np.testing.assert_allclose(scores["token_log_probabilities"][row], expected, atol=1e-3)
        np.testing.assert_allclose(scores["log_probabilities"][row], expected.sum(), atol=1e-3)


def test_score_makes_logits_a_few_tokens_at_a_time(decoder, monkeypatch):
    # Truth: all logits at once.
    expected = decoder.score(PROMPTS, PROMPTS[::-1])
    monkeypatch.setattr(chunked_loss, "MOST_LOGITS", 7 * tokenizer.vocabulary_size)
    found = text_model("decoder_lm").score(PROMPTS, PROMPTS[::-1])
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5)
    none = tf.zeros([0], tf.string)
    assert not decoder.score(none, none)["log_probabilities"].shape[0]


def test_score_refuses_what_the_model_cannot_read(decoder):
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than the 64 tokens"):
        decoder.score(["a"], ["b" * 65])


@pytest.mark.parametrize("name", ["decoder_lm", "lstm_lm"])
def test_what_is_drawn_as_the_likeliest_is_found_to_be(name):
    model = text_model(name)
    begun = [0, *tokenizer.encode("hello")] + [0] * (model.layout == "text_to_text")
    drawn = model.generate(["hello"], max_new_tokens=6)["tokens"][0, 0].numpy()
    other = (drawn[2] + 1) % 257
    rows = [[*begun, *drawn], [*begun, *drawn[:2], other, *drawn[3:]]]
    lengths = [len(rows[0])] * 2
    found = model.score_tokens(tokens=rows, lengths=lengths, num_tokens=[len(drawn)] * 2)
    assert found["likeliest"].numpy().tolist() == [True, False]


def test_tokens_are_scored_as_they_are(decoder):
    scores = decoder.score(PROMPTS[:3], ["what then", "", "y"])
    texts = [PROMPTS[0] + "what then", PROMPTS[1], "y"]
    rows = [[0, *tokenizer.encode(text)] for text in texts]
    lengths = [len(row) for row in rows]
    tokens = [row + [7] * (max(lengths) - len(row)) for row in rows]
    found = decoder.score_tokens(tokens=tokens, lengths=lengths, num_tokens=[9, 0, 1])
    for name, values in scores.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)


def test_only_models_without_a_source_score_tokens():
    assert hasattr(text_model("lstm_lm").score_tokens, "get_concrete_function")
    assert not hasattr(text_model("encoder_decoder").score_tokens, "get_concrete_function")
