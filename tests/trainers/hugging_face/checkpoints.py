"""Small checkpoints in the format of Transformers and of KerasHub, with weights at random."""

import json
import os

import keras

from tests.trainers.data import sentence_pieces
from tests.trainers.data.byte_pairs import make
from trainers.hugging_face.load import save_model
from zoo import DecoderLM, EncoderDecoder

SMALL = {"num_layers": 2, "width": 32, "num_heads": 4}
LLAMA = {
    **SMALL,
    "num_kv_heads": 2,
    "hidden_width": 48,
    "norm": "rms",
    "activation": "swiglu",
}
STRETCHED = {
    "factor": 8.0,
    "low_frequency_factor": 1.0,
    "high_frequency_factor": 4.0,
    "context_length": 16,
}
MARIAN = {
    **SMALL,
    "num_encoder_layers": 1,
    "positions": "sinusoidal",
    "norm_first": False,
    "activation": "silu",
    "head_bias": True,
}
T5 = {
    **SMALL,
    "num_encoder_layers": 1,
    "head_width": 6,
    "positions": "relative",
    "norm": "rms",
    "norm_epsilon": 1e-6,
    "use_bias": False,
    "scale_embeddings": False,
    "scale_attention": False,
    "begin_token": 5,
}
DECODERS = {  # settings of DecoderLM
    "gpt2": {
        **SMALL,
        "positions": "learned",
        "context_length": 64,
        "norm": "layer",
        "activation": "gelu",
        "use_bias": True,
        "tie_embeddings": True,
    },
    "llama": {**LLAMA, "rotary_base": 5e5, "rotary_scaling": STRETCHED, "begin_token": 3},
    "mistral": {**LLAMA, "window": 7},
    "qwen2": {**LLAMA, "use_bias": "qkv", "norm_epsilon": 1e-6, "tie_embeddings": True},
    "qwen3": {**LLAMA, "head_width": 16, "qk_norm": "rms"},
    "gemma": {
        **LLAMA,
        "head_width": 16,
        "activation": "geglu",
        "scale_embeddings": True,
        "tie_embeddings": True,
    },
}
ENCODER_DECODERS = {  # settings of EncoderDecoder
    "t5": {**T5, "scale_logits": True},
    "t5_1.1": {**T5, "activation": "geglu", "tie_embeddings": "inputs"},
    "bart": {
        **MARIAN,
        "positions": "learned",
        "context_length": 64,
        "activation": "exact_gelu",
        "scale_embeddings": False,
        "normalise_embeddings": True,
    },
    "marian": {**MARIAN, "begin_token": 96},
    "pegasus": {**MARIAN, "norm_first": True, "activation": "relu", "begin_token": 5},
}
MODELS = {**DECODERS, **ENCODER_DECODERS}


def make_model(kind, vocabulary_size=97, seed=0):
    """A model whose weights all differ from each other and from their start."""
    keras.utils.set_random_seed(seed)
    zoo_class = DecoderLM if kind in DECODERS else EncoderDecoder
    model = zoo_class(vocabulary_size, **MODELS[kind])
    # Scores that nothing divides need smaller weights, for float32 to have the digits.
    factor = 2 if MODELS[kind].get("scale_attention", True) else 1
    for weight in model.weights:
        noise = keras.random.normal(weight.shape, stddev=0.1)
        weight.assign(weight * (factor if len(weight.shape) > 1 else 1) + noise)
    return model


def make_checkpoint(folder, kind="gpt2", tokenizer="gpt2", begins=False):
    """Writes a folder with a model and a tokenizer; returns the model and the id of the end.

    Args:
      begins: whether the tokenizer puts <|im_start|> before a text; one of SentencePiece has its way.
    """
    names = ["<|endoftext|>", "<|im_start|>"]
    if tokenizer in sentence_pieces.KINDS:
        description, names = sentence_pieces.description_of(tokenizer), ["</s>", "<unk>"]
    else:
        description = make(tokenizer)
    ids = {token["content"]: token["id"] for token in description["added_tokens"]}
    eos, begin = (ids[name] for name in names)
    if begins and tokenizer not in sentence_pieces.KINDS:
        special = {"id": "<|im_start|>", "ids": [begin], "tokens": ["<|im_start|>"]}
        description["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<|im_start|>": special},
        }
    model = make_model(kind, vocabulary_size=608)
    save_model(model, str(folder), eos, bos_token_id=begin if begins else eos)
    for name, value in {
        "tokenizer.json": description,
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": names[0],
        },
    }.items():
        with open(os.path.join(folder, name), "w") as file:
            json.dump(value, file)
    return model, eos


def make_preset(folder):
    """Writes a preset of KerasHub, an OPT whose end of a text is 600; returns its CausalLM."""
    import keras_hub

    described = make("gpt2")["model"]
    vocabulary = {**described["vocab"], "</s>": 600, "<pad>": 601}
    merges = [m if isinstance(m, str) else " ".join(m) for m in described["merges"]]
    tokenizer = keras_hub.tokenizers.OPTTokenizer(vocabulary, merges)
    backbone = keras_hub.models.OPTBackbone(
        vocabulary_size=608,
        num_layers=2,
        num_heads=4,
        hidden_dim=16,
        intermediate_dim=24,
        max_sequence_length=64,
    )
    for i, weight in enumerate(backbone.weights):
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.2, seed=i))
    preprocessor = keras_hub.models.OPTCausalLMPreprocessor(tokenizer, sequence_length=32)
    causal_lm = keras_hub.models.OPTCausalLM(backbone=backbone, preprocessor=preprocessor)
    causal_lm.save_to_preset(str(folder))
    return causal_lm
