"""The models that the contract tests go through. A line here gives a model every one of them."""

import keras
import numpy as np

from zoo import LSTMLM, DecoderLM, EncoderDecoder, PretrainedLM

V = 23
CONTEXT = 16  # tokens, the longest row in these tests
small = {"num_layers": 1, "width": 16, "num_heads": 4, "dropout": 0.1}
deep = {**small, "num_layers": 2}
lstm = {"width": 16, "input_dropout": 0.1, "layer_dropout": 0.1, "output_dropout": 0.1}

GEMMA2 = {  # settings of KerasHub's backbones
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "head_dim": 6,
    "use_post_ffw_norm": True,
    "use_post_attention_norm": True,
    "attention_logit_soft_cap": 50,
    "final_logit_soft_cap": 30,
    "use_sliding_window_attention": True,
    "sliding_window_size": 3,
}
OPT = {
    "num_layers": 1,
    "num_heads": 4,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "max_sequence_length": CONTEXT,
}

MODELS = {
    "lstm": lambda: LSTMLM(V, **lstm),
    "lstm_tied": lambda: LSTMLM(V, tie_embeddings=True, num_layers=1, **lstm),
    "gpt2": lambda: DecoderLM(
        V,
        positions="learned",
        context_length=CONTEXT,
        norm="layer",
        activation="gelu",
        use_bias=True,
        tie_embeddings=True,
        output_scale=0.5,
        **deep,
    ),
    "llama": lambda: DecoderLM(V, num_kv_heads=2, hidden_width=24, activation="swiglu", **deep),
    "modern": lambda: DecoderLM(V, qk_norm=True, output_scale=0.0, logit_soft_cap=15.0, **small),
    "window": lambda: DecoderLM(V, window=3, rotary_base=100.0, **small),
    "sinusoidal": lambda: DecoderLM(
        V, positions="sinusoidal", norm="rms_without_gain", activation="geglu", **small
    ),
    "convolution": lambda: DecoderLM(V, short_convolution=4, begin_token=2, **small),
    "rematerialised": lambda: DecoderLM(V, rematerialise=True, **deep),
    "no_positions": lambda: DecoderLM(V, positions="none", activation="relu", **small),
    "translation": lambda: EncoderDecoder(V, num_encoder_layers=1, **deep),
    "translation_original": lambda: EncoderDecoder(
        V, norm_first=False, positions="sinusoidal", tie_embeddings="target", **small
    ),
    "translation_learned": lambda: EncoderDecoder(
        V,
        positions="learned",
        context_length=CONTEXT,
        qk_norm=True,
        tie_embeddings="none",
        scale_embeddings=False,
        **small,
    ),
    "translation_t5": lambda: EncoderDecoder(
        V,
        positions="relative",
        norm="rms",
        use_bias=False,
        activation="geglu",
        tie_embeddings="inputs",
        head_width=6,
        scale_embeddings=False,
        scale_attention=False,
        scale_logits=True,
        begin_token=1,
        **small,
    ),
    "translation_bart": lambda: EncoderDecoder(
        V,
        norm_first=False,
        final_norm=True,
        positions="learned",
        context_length=CONTEXT,
        normalise_embeddings=True,
        head_bias=True,
        activation="exact_gelu",
        **small,
    ),
    "hub_gemma2": lambda: PretrainedLM(V, "Gemma", GEMMA2, dropout=0.1),
    "hub_opt": lambda: PretrainedLM(V, "OPT", OPT, dropout=0.1, begin_token=3),
}


def make(name, dropout=None):
    """A model with weights that are the same under every backend, and none of them zero.

    `dropout` replaces all of the model's dropout rates.
    """
    model = MODELS[name]()
    if dropout is not None:
        config = model.get_config()
        rates = {setting: dropout for setting in config if setting.endswith("dropout")}
        model = type(model).from_config({**config, **rates})
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(0.4 * generator.standard_normal(weight.shape).astype("float32"))
    return model


def some_tokens(*shape, seed=0):
    return np.random.default_rng(seed).integers(1, V, shape, dtype="int32")


def example(model, length, source_length=4, rows=1, seed=0):
    """Features of whole examples, without segments or positions."""
    features = {"inputs": some_tokens(rows, length, seed=seed)}
    if model.reads_source:
        features["source"] = some_tokens(rows, source_length, seed=seed + 100)
    return features


def pack(*examples, length, source_length):
    """One row of several examples of a row each, as trainers/data/batches.py packs them."""
    row = {}
    for tokens, prefix, room in (("inputs", "", length), ("source", "source_", source_length)):
        if tokens in examples[0]:
            parts = [features[tokens][0] for features in examples]
            lengths = [len(part) for part in parts]
            padding = (0, room - sum(lengths))
            row[tokens] = np.pad(np.concatenate(parts), padding)[None]
            segments = np.repeat(np.arange(1, len(parts) + 1), lengths)
            row[prefix + "segments"] = np.pad(segments, padding)[None].astype("int32")
            positions = np.concatenate([np.arange(n) for n in lengths])
            row[prefix + "positions"] = np.pad(positions, padding)[None].astype("int32")
    return row


def logits_of(model, features, **options):
    """As NumPy, so that a test can slice and compare it."""
    return keras.ops.convert_to_numpy(model(features, **options))
