"""Decoder-only families of Transformers, as settings and weights of zoo.DecoderLM; see families.py."""

from trainers.errors import UserError
from trainers.hugging_face.options import back, chosen, demand, refuse
from trainers.hugging_face.weights import Weight, layer_norm, linear, rms_norm

GPT2_ACTIVATIONS = {"gelu_new": "gelu", "gelu": "exact_gelu", "relu": "relu"}


class GPT2:
    """Radford et al. 2019."""

    model = "DecoderLM"
    model_types = ("gpt2",)

    @staticmethod
    def settings(config):
        refuse("DecoderLM", config, scale_attn_by_inverse_layer_idx=False, scale_attn_weights=True)
        return {
            "vocabulary_size": config["vocab_size"],
            "num_layers": config["n_layer"],
            "width": config["n_embd"],
            "num_heads": config["n_head"],
            "hidden_width": config.get("n_inner") or 4 * config["n_embd"],
            "context_length": config["n_positions"],
            "positions": "learned",
            "norm": "layer",
            "norm_epsilon": config.get("layer_norm_epsilon", 1e-5),
            "activation": chosen(
                GPT2_ACTIVATIONS,
                config.get("activation_function", "gelu_new"),
                "activation_function",
            ),
            "use_bias": True,
            "tie_embeddings": config.get("tie_word_embeddings", True),
        }

    @staticmethod
    def config(settings):
        return {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "vocab_size": settings["vocabulary_size"],
            "n_layer": settings["num_layers"],
            "n_embd": settings["width"],
            "n_head": settings["num_heads"],
            "n_inner": settings["hidden_width"],
            "n_positions": settings["context_length"],
            "n_ctx": settings["context_length"],
            "layer_norm_epsilon": settings["norm_epsilon"],
            "activation_function": back(
                GPT2_ACTIVATIONS, settings["activation"], "DecoderLM.activation"
            ),
            "tie_word_embeddings": settings["tie_embeddings"],
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        }

    @staticmethod
    def fits(settings):
        """Raises UserError for a DecoderLM that is no GPT-2."""
        demand(
            "DecoderLM", settings, positions="learned", norm="layer", use_bias=True, qk_norm=False
        )
        demand("DecoderLM", settings, window=None, logit_soft_cap=None, scale_embeddings=False)
        demand("DecoderLM", settings, short_convolution=None)
        demand("DecoderLM", settings, num_kv_heads=settings["num_heads"])
        demand("DecoderLM", settings, head_width=settings["width"] // settings["num_heads"])

    @staticmethod
    def weights(settings, prefix="transformer."):
        yield Weight("embedding/embedding", (f"{prefix}wte.weight",), tokens=True)
        yield Weight("position_embedding/position_embedding", (f"{prefix}wpe.weight",))
        if not settings["tie_embeddings"]:
            yield Weight("embedding/head_embedding", ("lm_head.weight",), tokens=True)
        for i in range(settings["num_layers"]):
            ours, theirs = f"block_{i}", f"{prefix}h.{i}"
            # Conv1D, as [inputs, outputs] like ours.
            yield from linear(f"{ours}/qkv", f"{theirs}.attn.c_attn", transposed=False)
            yield from linear(f"{ours}/output", f"{theirs}.attn.c_proj", transposed=False)
            yield from layer_norm(f"{ours}/attention_norm", f"{theirs}.ln_1")
            yield from linear(f"{ours}/up", f"{theirs}.mlp.c_fc", transposed=False)
            yield from linear(f"{ours}/down", f"{theirs}.mlp.c_proj", transposed=False)
            yield from layer_norm(f"{ours}/feed_forward_norm", f"{theirs}.ln_2")
        yield from layer_norm("final_norm", f"{prefix}ln_f")

    @staticmethod
    def copies(settings):
        """Names of weights that repeat others."""
        return ("lm_head.weight",) if settings["tie_embeddings"] else ()

    @staticmethod
    def prefix(folder):
        """What stands before a weight's name: the checkpoints of OpenAI's models have nothing."""
        return "transformer." if "transformer.wte.weight" in folder else ""


class Llama:
    """Llama (Touvron et al. 2023), and what has its names: Mistral, Qwen, Gemma, SmolLM."""

    model = "DecoderLM"
    model_types = ("llama", "mistral", "qwen2", "qwen3", "gemma")

    @staticmethod
    def settings(config):
        kind = config["model_type"]
        gemma = kind == "gemma"
        refuse("DecoderLM", config, mlp_bias=False)
        if kind != "qwen2" and config.get("attention_bias"):
            raise UserError("attention_bias of config.json is True, which DecoderLM has not")
        activation = config.get("hidden_activation") or config.get("hidden_act", "silu")
        expected = ("gelu_pytorch_tanh", "gelu") if gemma else ("silu",)
        if activation not in expected:
            raise UserError(
                f"the activation {activation!r} of config.json is none that DecoderLM has"
            )
        heads = config["num_attention_heads"]
        return {
            "vocabulary_size": config["vocab_size"],
            "num_layers": config["num_hidden_layers"],
            "width": config["hidden_size"],
            "num_heads": heads,
            "num_kv_heads": config.get("num_key_value_heads") or heads,
            "head_width": config.get("head_dim") or config["hidden_size"] // heads,
            "hidden_width": config["intermediate_size"],
            "positions": "rotary",
            "rotary_base": float(rotary(config).get("rope_theta", 10000.0)),
            "rotary_scaling": scaling(rotary(config)),
            "norm": "rms",
            "norm_epsilon": config.get("rms_norm_eps", 1e-6),
            "activation": "geglu" if gemma else "swiglu",
            "use_bias": "qkv" if kind == "qwen2" else False,
            "qk_norm": "rms" if kind == "qwen3" else False,
            "tie_embeddings": config.get("tie_word_embeddings", gemma),
            "scale_embeddings": gemma,
            "window": window_of(config),
        }

    @staticmethod
    def config(settings):
        rotation = {"rope_theta": settings["rotary_base"], "rope_type": "default"}
        stretched = settings["rotary_scaling"]
        if stretched:
            rotation |= {THEIR_SCALING[name]: value for name, value in stretched.items()}
            rotation["rope_type"] = "linear" if len(stretched) == 1 else "llama3"
        kind = Llama.kind(settings)
        found = {
            "model_type": kind,
            "architectures": [f"{kind.capitalize()}ForCausalLM"],
            "vocab_size": settings["vocabulary_size"],
            "num_hidden_layers": settings["num_layers"],
            "hidden_size": settings["width"],
            "num_attention_heads": settings["num_heads"],
            "num_key_value_heads": settings["num_kv_heads"],
            "head_dim": settings["head_width"],
            "intermediate_size": settings["hidden_width"],
            "rms_norm_eps": settings["norm_epsilon"],
            "rope_theta": settings["rotary_base"],
            "rope_parameters": rotation,
            "hidden_act": "gelu_pytorch_tanh" if kind == "gemma" else "silu",
            "tie_word_embeddings": settings["tie_embeddings"],
            "attention_bias": False,
        }
        if kind == "mistral":
            found["sliding_window"] = settings["window"]
        return found

    @staticmethod
    def kind(settings):
        """The model_type of Transformers that has these settings."""
        if settings["scale_embeddings"]:
            return "gemma"
        if settings["use_bias"] == "qkv":
            return "qwen2"
        if settings["qk_norm"] == "rms":
            return "qwen3"
        return "mistral" if settings["window"] else "llama"

    @staticmethod
    def fits(settings):
        demand("DecoderLM", settings, positions="rotary", norm="rms", logit_soft_cap=None)
        demand("DecoderLM", settings, short_convolution=None)
        kind = Llama.kind(settings)
        demand("DecoderLM", settings, use_bias="qkv" if kind == "qwen2" else False)
        demand("DecoderLM", settings, qk_norm="rms" if kind == "qwen3" else False)
        demand("DecoderLM", settings, activation="geglu" if kind == "gemma" else "swiglu")
        if kind != "mistral":
            demand("DecoderLM", settings, window=None)

    @staticmethod
    def weights(settings, prefix="model."):
        gemma = settings["scale_embeddings"]
        gain = {"added": 1.0} if gemma else {}
        bias = settings["use_bias"] == "qkv"
        heads = settings["num_heads"], settings["num_kv_heads"], settings["num_kv_heads"]
        qkv = tuple(count * settings["head_width"] for count in heads)
        gated = (settings["hidden_width"],) * 2
        yield Weight("embedding/embedding", (f"{prefix}embed_tokens.weight",), tokens=True)
        if not settings["tie_embeddings"]:
            yield Weight("embedding/head_embedding", ("lm_head.weight",), tokens=True)
        for i in range(settings["num_layers"]):
            ours, theirs = f"block_{i}", f"{prefix}layers.{i}"
            attention = f"{theirs}.self_attn"
            inputs = [f"{attention}.{name}_proj" for name in "qkv"]
            yield from linear(f"{ours}/qkv", *inputs, shares=qkv, bias=bias)
            yield from linear(f"{ours}/output", f"{attention}.o_proj", bias=False)
            if settings["qk_norm"]:
                yield from rms_norm(f"{ours}/query_norm", f"{attention}.q_norm")
                yield from rms_norm(f"{ours}/key_norm", f"{attention}.k_norm")
            yield from rms_norm(f"{ours}/attention_norm", f"{theirs}.input_layernorm", **gain)
            both = [f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj"]
            yield from linear(f"{ours}/up", *both, shares=gated, bias=False)
            yield from linear(f"{ours}/down", f"{theirs}.mlp.down_proj", bias=False)
            after = f"{theirs}.post_attention_layernorm"
            yield from rms_norm(f"{ours}/feed_forward_norm", after, **gain)
        yield from rms_norm("final_norm", f"{prefix}norm", **gain)

    copies = GPT2.copies

    @staticmethod
    def prefix(folder):
        return "model." if "model.embed_tokens.weight" in folder else ""


def window_of(config):
    """The window of all layers, None where none has one; what is left out is as Transformers have it.

    Raises:
      UserError: it is of some layers alone.
    """
    kind, layers = config["model_type"], config["num_hidden_layers"]
    window = config.get("sliding_window", 4096)
    if kind == "mistral":
        first = 0
    elif kind in ("qwen2", "qwen3") and config.get("use_sliding_window"):
        first = config.get("max_window_layers", 28)
    else:
        return None
    slides = [i >= first for i in range(layers)]
    if config.get("layer_types"):
        slides = [each == "sliding_attention" for each in config["layer_types"]]
    if window is not None and len(set(slides)) > 1:
        raise UserError(
            f"the sliding_window of config.json is of {sum(slides)} of its {layers} layers (see "
            "max_window_layers and layer_types); DecoderLM has only one window for all"
        )
    return window if any(slides) else None


THEIR_SCALING = {
    "factor": "factor",
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
    "context_length": "original_max_position_embeddings",
}


def rotary(config):
    """What config.json says of rotary positions: in newer ones in one place."""
    known = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return {"rope_theta": config.get("rope_theta", 10000.0), **known}


def scaling(rotation):
    kind = rotation.get("rope_type", rotation.get("type", "default"))
    if kind == "default":
        return None
    wanted = {"linear": ["factor"], "llama3": list(THEIR_SCALING)}.get(kind)
    if wanted is None:
        raise UserError(f"the rotary positions {kind!r} of config.json are none that DecoderLM has")
    return {name: rotation[THEIR_SCALING[name]] for name in wanted}
