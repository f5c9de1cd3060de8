"""LiteRT files against the Keras models that they were made from."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.tiny import BytesTokenizer, family
from trainers import config, litert
from trainers.errors import UserError
from trainers.litert_model import EOS, LiteRTModel
from trainers.text_model import TextModel
from zoo import DecoderLM

GPT2 = {"positions": "learned", "context_length": 40, "norm": "layer", "activation": "gelu"}
GPT2 |= {"use_bias": True, "tie_embeddings": True}
MODELS = {
    "rotary": ("decoder_lm", {"num_kv_heads": 2, "short_convolution": 3}),
    "gpt2": ("decoder_lm", GPT2),
    "lstm": ("lstm_lm", {}),
    "encoder_decoder": ("encoder_decoder", {}),
}
MAX_LENGTH, PROMPT_LENGTH = 40, 16


@pytest.fixture(scope="module", params=MODELS)
def made(request, tmp_path_factory):
    """(LiteRTModel, TextModel) of one model."""
    name, settings = MODELS[request.param]
    model, layout = family(name, **settings)
    path = str(tmp_path_factory.mktemp(request.param) / "litert" / "float32.tflite")
    litert.convert(model, path, MAX_LENGTH, PROMPT_LENGTH)
    return LiteRTModel(path), TextModel(model, BytesTokenizer(), layout, MAX_LENGTH)


def prompt_tokens(text_model, text):
    """What a LiteRT file reads for a text."""
    if text_model.model.reads_source:
        return text_model.prompts.source(tf.constant([text]))["source"][0, : len(text) + 1].numpy()
    return text_model.prompts.read(tf.constant([text]))[0].numpy()


@pytest.mark.parametrize("prompt", ["hello", "", "of 14 bytes ok"])
def test_greedy_tokens_are_those_of_the_export(made, prompt):
    lite, text_model = made
    generated = list(lite.generate(prompt_tokens(text_model, prompt), max_new_tokens=20))
    expected = text_model.generate([prompt], max_new_tokens=20)["tokens"][0, 0].numpy()
    assert generated == list(expected[expected != EOS])


def test_it_writes_as_much_as_there_is_room_for_and_no_more(made):
    lite, text_model = made
    drawn = list(lite.generate([1, 2, 3], choose=lambda logits: 5))
    read = 0 if text_model.model.reads_source else PROMPT_LENGTH - 1
    assert drawn == [5] * (MAX_LENGTH - read)


def test_the_last_tokens_of_a_long_prompt_are_read(made):
    lite, _ = made
    long = list(range(1, 101))
    assert list(lite.generate(long, 9)) == list(lite.generate(long[-PROMPT_LENGTH:], 9))


def test_a_prompt_without_tokens_is_refused(made):
    with pytest.raises(ValueError, match="at least one token"):
        list(made[0].generate([]))


def test_rounded_weights_take_a_third_of_the_room_and_little_of_the_exactness(tmp_path):
    keras.utils.set_random_seed(0)
    model = DecoderLM(257, num_layers=2, width=128, **GPT2)
    for weight in model.weights:
        weight.assign_add(0.05 * keras.random.normal(weight.shape))
    logits, sizes = {}, {}
    for kind in litert.WEIGHTS:
        path = tmp_path / f"{kind}.tflite"
        litert.convert(model, str(path), MAX_LENGTH, PROMPT_LENGTH, kind)
        sizes[kind] = path.stat().st_size
        logits[kind] = []

        def choose(each, seen=logits[kind]):
            seen.append(each)
            return len(seen)

        list(LiteRTModel(str(path)).generate([EOS, 72, 73, 74], 20, choose))
    assert sizes["int8"] < sizes["float32"] / 3
    exact = np.array(logits["float32"])
    error = np.array(logits["int8"]) - exact
    assert 0 < np.std(error) < 0.05 * np.std(exact)


RUN = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None  # importing them fails
from trainers.litert_model import LiteRTModel
print(*LiteRTModel(sys.argv[1]).generate([0, 72, 73], 5))
"""


def test_a_file_runs_without_tensorflow(tmp_path):
    model, _ = family("decoder_lm")
    path = litert.convert(model, str(tmp_path / "a.tflite"), MAX_LENGTH)
    ran = subprocess.run([sys.executable, "-c", RUN, path], capture_output=True, text=True)
    assert ran.stdout.split() == [
        str(token) for token in LiteRTModel(path).generate([0, 72, 73], 5)
    ]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"weights": "int4"}, "litert.weights: 'int4' is none of 'float32', 'int8'"),
        ({"prompt_length": 41}, "litert.prompt_length = 41: it must be from 2 to 40, "),
        ({"prompt_length": 1}, "litert.prompt_length = 1: it must be from 2 to 40, "),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, settings, message):
    model, _ = family("decoder_lm")
    with pytest.raises(UserError, match=message):
        litert.convert(model, str(tmp_path / "a.tflite"), MAX_LENGTH, **settings)
    assert not list(tmp_path.iterdir())


def test_half_precision_is_refused_with_the_flag_that_helps(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, _ = family("decoder_lm")
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(UserError, match="--gin_param='PRECISION = \"float32\"'"):
        litert.convert(model, str(tmp_path / "a.tflite"), MAX_LENGTH)


def test_weights_are_chosen_by_gin():
    params = ['litert.weights = ["int8"]', "litert.prompt_length = 8"]
    checked = config.check(["configs/recipes/quickstart.gin"], params)
    assert checked.flat()["litert.weights"] == ["int8"]
