"""Tiny untrained models and a tokenizer for tests of decoding and export."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.text_model import TextModel
from zoo import LSTMLM, DecoderLM, EncoderDecoder

PROMPTS = ["hello", "a prompt which is the longest of them by far", "", "ß"]
SAMPLING = {"temperature": 1.0, "top_k": 9, "top_p": 0.95}


class BytesInGraph(tf.Module):
    def tokenize(self, texts):
        raw = tf.strings.bytes_split(texts)
        codes = tf.reshape(tf.io.decode_raw(raw.flat_values, tf.uint8), [-1])
        return raw.with_flat_values(tf.cast(codes, tf.int32) + 1)

    def detokenize(self, tokens):
        dense = tokens.to_tensor() if isinstance(tokens, tf.RaggedTensor) else tokens
        before_end = tf.math.cumprod(tf.cast(dense != 0, tf.int32), axis=1) > 0
        table = tf.constant([bytes([max(i - 1, 0)]) for i in range(257)])
        texts = tf.strings.reduce_join(tf.where(before_end, tf.gather(table, dense), ""), axis=1)
        return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")


class BytesTokenizer:
    vocabulary_size = 257
    special_tokens = ()
    separator = ""
    begins_texts = True
    leading_space = None
    reads_answers_apart = False

    def encode(self, text):
        return np.frombuffer(text.encode(), "uint8").astype("int32") + 1

    def decode(self, ids):
        return bytes(i - 1 for i in ids if i).decode("utf-8", "replace")

    def in_graph(self):
        return BytesInGraph()


FAMILIES = {
    "decoder_lm": (DecoderLM, "language_modelling"),
    "lstm_lm": (LSTMLM, "text_to_text"),
    "encoder_decoder": (EncoderDecoder, "text_to_text"),
}


def one_quick(names):
    """Parameters of which all but the first are left to the slow tests."""
    first, *others = names
    return [first, *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


def family(name, seed=0, **settings):
    """(model, layout); the weights are far from their start, so that tokens differ."""
    keras.utils.set_random_seed(seed)
    build, layout = FAMILIES[name]
    model = build(BytesTokenizer.vocabulary_size, num_layers=1, width=16, **settings)
    for weight in model.weights:
        weight.assign(0.5 * keras.random.normal(weight.shape))
    return model, layout


def text_model(name, max_length=64, **options):
    model, layout = family(name)
    return TextModel(model, BytesTokenizer(), layout, max_length, **options)
