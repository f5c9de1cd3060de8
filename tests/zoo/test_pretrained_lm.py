"""Truth: KerasHub's own models, of which `PretrainedLM` is another use."""

import keras
import numpy as np
import pytest

from tests.zoo.models import V, example
from zoo import PretrainedLM
from zoo.pretrained_lm import BACKBONES

SIZE = {"num_layers": 1, "hidden_dim": 16, "intermediate_dim": 24}
HEADS = {**SIZE, "num_heads": 4}
GROUPS = {**SIZE, "num_query_heads": 4, "num_key_value_heads": 2}
EXPERTS = {**GROUPS, "num_experts": 4, "top_k": 2}
GEMMA = {
    **GROUPS,
    "num_layers": 2,
    "head_dim": 8,
    "use_sliding_window_attention": True,
    "sliding_window_size": 3,
}
SETTINGS = {
    "Bloom": HEADS,
    "Falcon": {**SIZE, "num_attention_heads": 4},
    "GPT2": {**HEADS, "max_sequence_length": 16},
    "Gemma": {**GEMMA, "final_logit_soft_cap": 5.0},
    "Gemma3": {**GEMMA, "image_size": None, "vision_encoder": None},
    "GptOss": {**EXPERTS, "sliding_window": 3},
    "Llama": GROUPS,
    "Llama3": GROUPS,
    "Mistral": {**GROUPS, "sliding_window": 3},
    "Mixtral": EXPERTS,
    "OPT": {**HEADS, "max_sequence_length": 16},
    "Phi3": GROUPS,
    "Qwen": GROUPS,
    "Qwen3": {**GROUPS, "head_dim": 8},
    "Qwen3Moe": {**EXPERTS, "moe_intermediate_dim": 8, "head_dim": 8},
    "QwenMoe": {**EXPERTS, "moe_intermediate_dim": 8, "shared_expert_intermediate_dim": 8},
    "SmolLM3": {
        **SIZE,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "attention_bias": False,
        "rope_layer_enabled_list": [True],
        "layer_types": ["full_attention"],
        "mlp_bias": False,
        "layer_norm_epsilon": 1e-6,
        "max_position_embeddings": 16,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 1.0,
    },
}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_rows_of_any_lengths_decode_to_the_logits_that_kerashub_gives_each(backbone):
    model = PretrainedLM(V, backbone, SETTINGS[backbone])
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + 0.2 * generator.standard_normal(weight.shape).astype("float32"))
    tokens = example(model, 7, rows=2)["inputs"]
    padding = np.array([0, 3], "int32")
    state = model.start(2, 7, {"padding": padding})
    found = []
    for piece in (tokens[:, :5], tokens[:, 5:]):
        logits, state = model.extend(piece, state)
        found.append(np.asarray(logits))
    found = np.concatenate(found, axis=1)
    for row, skipped in enumerate(padding):
        alone = tokens[row : row + 1, skipped:]
        expected = model.causal_lm({"token_ids": alone, "padding_mask": np.ones_like(alone)})
        np.testing.assert_allclose(found[row, skipped:], expected[0], atol=1e-5, rtol=1e-4)
    assert model.matmul_flops_per_token(7) > 0


def test_gpt_neo_x_stays_out_while_its_cached_tokens_have_no_positions():
    import keras_hub

    settings = {**HEADS, "vocabulary_size": V, "rotary_percentage": 0.5}
    backbone = keras_hub.models.GPTNeoXBackbone(**settings)
    theirs = keras_hub.models.GPTNeoXCausalLM(backbone=backbone, preprocessor=None)
    for i, weight in enumerate(theirs.weights):
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.2, seed=i))
    tokens = np.arange(1, 8)[None]
    cache = np.zeros((1, 1, 2, 7, 4, 4), "float32")
    _, _, cache = theirs.call_with_cache(tokens[:, :5], cache, 0)
    found, _, _ = theirs.call_with_cache(tokens[:, 5:], cache, 5)
    expected = theirs({"token_ids": tokens, "padding_mask": np.ones_like(tokens)})
    assert np.abs(np.asarray(found) - np.asarray(expected)[:, 5:]).max() > 0.01


@pytest.mark.parametrize(
    ("backbone", "settings", "message"),
    [
        ("GPTNeoX", {}, "backbone 'GPTNeoX' is none of Bloom, Falcon"),
        ("OPT", {**HEADS, "num_head": 4}, "settings: OPTBackbone has no 'num_head'"),
        ("OPT", SIZE, "settings: .* missing 1 required positional argument: 'num_heads'"),
    ],
)
def test_what_is_no_decoder_of_kerashub_is_one_clear_line(backbone, settings, message):
    with pytest.raises(ValueError, match=message):
        PretrainedLM(V, backbone, settings)
