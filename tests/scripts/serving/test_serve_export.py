"""The real process over real exports: what it says is what the exported functions give."""

import concurrent.futures

import openai
import pytest
import tensorflow as tf

from tests.scripts.serving.processes import client_of, started
from tests.trainers.tiny import one_quick

PROMPTS = ["hello", "", "a prompt that is longer than the others", "ß"]


@pytest.fixture(scope="module", params=one_quick(["decoder_lm", "encoder_decoder"]))
def served(request, exports):
    """(a function that completes, the export)"""
    folder = exports[request.param]
    command = ["scripts/serve.py", f"--model={folder}", "--max_batch_size=3"]
    with started("--model_name=tiny", command=command) as server:
        with client_of(server) as client:

            def complete(prompt, **options):
                options = {"temperature": 0, "max_tokens": 8, **options}
                return client.completions.create(model="tiny", prompt=prompt, **options)

            yield complete, tf.saved_model.load(folder)


def expected(export, prompts, **options):
    texts = export.generate(prompts, max_new_tokens=8, **options)["text"].numpy()
    return [text.decode("utf-8", "replace") for row in texts for text in row]


def test_answers_are_the_texts_of_the_export_whoever_asks_beside(served):
    complete, export = served
    alone = [expected(export, [prompt])[0] for prompt in PROMPTS]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:  # more than there are rows
        answers = list(pool.map(lambda prompt: complete(prompt).choices[0].text, 2 * PROMPTS))
    assert answers == 2 * alone


def test_sampled_answers_are_those_of_the_seed(served):
    complete, export = served
    options = {"temperature": 1.0, "top_p": 0.9, "seed": 7}
    texts = expected(export, ["hello"], num_return_sequences=2, **options)
    assert [choice.text for choice in complete("hello", n=2, **options).choices] == texts
    chunks = complete("hello", n=2, stream=True, **options)
    streamed = ["", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == texts


def test_log_probabilities_are_those_of_the_export(served):
    complete, export = served
    found = complete("hello", logprobs=5).choices[0].logprobs
    values = export.generate(["hello"], max_new_tokens=8, top_logprobs=5)
    count = len(found.token_logprobs)
    gained = values["token_log_probabilities"][0, 0, :count].numpy()
    assert found.token_logprobs == pytest.approx(gained.tolist(), abs=1e-4)
    tops = values["top_log_probabilities"][0, 0, :count, :5].numpy()
    for top, row in zip(found.top_logprobs, tops, strict=True):
        # Bytes that are no text of their own look alike: fewer keys than alternatives.
        assert max(top.values()) == pytest.approx(row[0], abs=1e-4)
        assert set(map(rounded, top.values())) <= set(map(rounded, row))


def rounded(value):
    return round(float(value), 2)


def test_a_prompt_that_does_not_fit_is_an_error_or_shortened(served):
    complete, _ = served
    with pytest.raises(openai.BadRequestError) as error:
        complete("a" * 100)
    assert error.value.code == "context_length_exceeded"
    assert complete("a" * 100, extra_body={"truncation": "left"}).choices
