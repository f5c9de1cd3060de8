"""Architectures of Transformers that zoo.PretrainedLM is, by their model_type.

Each is a function of a config.json to (backbone, settings). What KerasHub's layers know in one way
alone is refused where config.json says otherwise: they would pass over it without a word.
"""

from trainers.errors import UserError
from trainers.hugging_face.decoders import rotary
from trainers.hugging_face.options import refuse


def gemma2(config):
    """Gemma Team 2024."""
    refuse_of_gemma("KerasHub's Gemma", config, ["sliding_attention", "full_attention"])
    if rotation("KerasHub's Gemma", config) != 10000:
        raise UserError("rope_theta of config.json is not 10000; KerasHub's Gemma has no other")
    return "Gemma", {
        **sizes(config),
        "intermediate_dim": 2 * config["intermediate_size"],
        "head_dim": config["head_dim"],
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "final_logit_soft_cap": config["final_logit_softcapping"],
        "attention_logit_soft_cap": config["attn_logit_softcapping"],
        "use_sliding_window_attention": True,
        "sliding_window_size": config["sliding_window"],
    }


def gemma3(config):
    """Gemma Team 2025, without images."""
    model = "KerasHub's Gemma3"
    refuse_of_gemma(model, config, ["sliding_attention"] * 5 + ["full_attention"])
    refuse(model, config, attn_logit_softcapping=None, final_logit_softcapping=None)
    known = config.get("rope_parameters") or {}
    whole = known.get("full_attention") or config.get("rope_scaling") or {}
    local = known.get("sliding_attention") or {}
    bases = (
        whole.get("rope_theta", config.get("rope_theta", 1e6)),
        local.get("rope_theta", config.get("rope_local_base_freq", 1e4)),
    )
    kinds = {part.get("rope_type", "default") for part in (whole, local)}
    if bases != (1e6, 1e4) or kinds - {"default", "linear"}:
        raise UserError(f"{model} has not the rotary positions of config.json")
    return "Gemma3", {
        **sizes(config),
        "image_size": None,
        "head_dim": config["head_dim"],
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "use_query_key_norm": True,
        "use_sliding_window_attention": True,
        "sliding_window_size": config["sliding_window"],
        "global_rope_scaling_factor": whole.get("factor", 1.0),
        "local_rope_scaling_factor": local.get("factor", 1.0),
    }


def mixtral(config):
    """Jiang et al. 2024."""
    model = "KerasHub's Mixtral"
    refuse(model, config, hidden_act="silu", tie_word_embeddings=False)
    return "Mixtral", {
        **sizes(config),
        **of_rotation(model, config),
        "num_experts": config["num_local_experts"],
        "top_k": config["num_experts_per_tok"],
        "sliding_window": config.get("sliding_window"),
    }


def qwen2_moe(config):
    """Qwen Team 2024."""
    model = "KerasHub's QwenMoe"
    refuse(model, config, tie_word_embeddings=False, qkv_bias=True)
    return "QwenMoe", {
        **experts_of_qwen(model, config),
        "shared_expert_intermediate_dim": config["shared_expert_intermediate_size"],
    }


def qwen3_moe(config):
    """Qwen Team 2025."""
    model = "KerasHub's Qwen3Moe"
    refuse(model, config, rms_norm_eps=1e-6, attention_bias=False)
    return "Qwen3Moe", {
        **experts_of_qwen(model, config),
        "head_dim": config["head_dim"],
        "sliding_window_size": None,
        "tie_word_embeddings": config.get("tie_word_embeddings", False),
    }


def smollm3(config):
    """Bakouch et al. 2025."""
    model = "KerasHub's SmolLM3"
    refuse(model, config, hidden_act="silu", attention_bias=False, mlp_bias=False)
    refuse(model, config, tie_word_embeddings=True, use_sliding_window=False)
    layers = config["num_hidden_layers"]
    settings = sizes(config)
    return "SmolLM3", {
        **{name: settings[name] for name in settings if name != "num_query_heads"},
        "num_attention_heads": config["num_attention_heads"],
        "layer_norm_epsilon": config["rms_norm_eps"],
        "max_position_embeddings": config["max_position_embeddings"],
        "rope_theta": rotation(model, config),
        "partial_rotary_factor": 1.0,
        "rope_layer_enabled_list": [bool(rotated) for rotated in config["no_rope_layers"]],
        "layer_types": ["full_attention"] * layers,
        "attention_bias": False,
        "mlp_bias": False,
    }


FAMILIES = {
    "gemma2": gemma2,
    "gemma3_text": gemma3,
    "mixtral": mixtral,
    "qwen2_moe": qwen2_moe,
    "qwen3_moe": qwen3_moe,
    "smollm3": smollm3,
}


def sizes(config):
    return {
        "num_layers": config["num_hidden_layers"],
        "num_query_heads": config["num_attention_heads"],
        "num_key_value_heads": config["num_key_value_heads"],
        "hidden_dim": config["hidden_size"],
        "intermediate_dim": config["intermediate_size"],
    }


def of_rotation(model, config):
    return {
        "rope_max_wavelength": rotation(model, config),
        "layer_norm_epsilon": config["rms_norm_eps"],
    }


def rotation(model, config):
    """The base of rotary positions that nothing scales."""
    known = rotary(config)
    kind = known.get("rope_type", known.get("type", "default"))
    if kind != "default":
        raise UserError(f"{model} has not the rotary positions {kind!r} of config.json")
    return float(known["rope_theta"])


def refuse_of_gemma(model, config, pattern):
    refuse(model, config, rms_norm_eps=1e-6, hidden_activation="gelu_pytorch_tanh")
    refuse(model, config, attention_bias=False, tie_word_embeddings=True)
    # Its blocks do not hand `query_head_dim_normalize` on.
    refuse(model, config, query_pre_attn_scalar=config["head_dim"])
    layers = config["num_hidden_layers"]
    refuse(model, config, layer_types=(pattern * layers)[:layers])
    if config.get("use_bidirectional_attention"):
        raise UserError("use_bidirectional_attention of config.json is True: it writes no text")


def experts_of_qwen(model, config):
    refuse(model, config, hidden_act="silu", use_sliding_window=False)
    refuse(model, config, decoder_sparse_step=1, mlp_only_layers=[])
    return {
        **sizes(config),
        **of_rotation(model, config),
        "moe_intermediate_dim": config["moe_intermediate_size"],
        "num_experts": num_experts(config),
        "top_k": config["num_experts_per_tok"],
        "norm_top_k_prob": config["norm_topk_prob"],
    }


def num_experts(config):
    """How many there are: newer versions of Transformers write Mixtral's name for it."""
    return config["num_experts"] if "num_experts" in config else config["num_local_experts"]
