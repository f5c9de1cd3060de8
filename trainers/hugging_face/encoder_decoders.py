"""Encoder-decoders of Transformers, as settings and weights of zoo.EncoderDecoder; see families.py."""

from trainers.hugging_face.options import back, chosen, demand, refuse
from trainers.hugging_face.weights import Weight, layer_norm, linear, rms_norm

MODEL = "EncoderDecoder"
T5_ACTIVATIONS = {"relu": "relu", "gated-gelu": "geglu", "gated-silu": "swiglu"}
ACTIVATIONS = {
    "gelu": "exact_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "gelu_new": "gelu",
}


class T5:
    """T5 (Raffel et al. 2020), whose logits are scaled where embeddings are tied, and its successors."""

    model = MODEL
    model_types = ("t5", "mt5")

    @staticmethod
    def settings(config):
        refuse(MODEL, config, relative_attention_num_buckets=32)
        refuse(MODEL, config, relative_attention_max_distance=128)
        # Newer configurations say of all that they are tied, and this of those that are.
        tied = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))
        tied = tied and config["model_type"] == "t5"
        kind = config.get("feed_forward_proj", "relu")
        return {
            "vocabulary_size": config["vocab_size"],
            "num_encoder_layers": config["num_layers"],
            "num_layers": config.get("num_decoder_layers") or config["num_layers"],
            "width": config["d_model"],
            "num_heads": config["num_heads"],
            "head_width": config["d_kv"],
            "hidden_width": config["d_ff"],
            "positions": "relative",
            "norm": "rms",
            "norm_epsilon": config.get("layer_norm_epsilon", 1e-6),
            "activation": chosen(T5_ACTIVATIONS, kind, "feed_forward_proj"),
            "use_bias": False,
            "tie_embeddings": "all" if tied else "inputs",
            "scale_embeddings": False,
            "scale_attention": False,
            "scale_logits": tied,
        }

    @staticmethod
    def config(settings):
        return {
            "model_type": "t5",
            "architectures": ["T5ForConditionalGeneration"],
            "is_encoder_decoder": True,
            "vocab_size": settings["vocabulary_size"],
            "num_layers": settings["num_encoder_layers"],
            "num_decoder_layers": settings["num_layers"],
            "d_model": settings["width"],
            "num_heads": settings["num_heads"],
            "d_kv": settings["head_width"],
            "d_ff": settings["hidden_width"],
            "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128,
            "layer_norm_epsilon": settings["norm_epsilon"],
            "feed_forward_proj": back(
                T5_ACTIVATIONS, settings["activation"], f"{MODEL}.activation"
            ),
            "tie_word_embeddings": settings["tie_embeddings"] == "all",
            "scale_decoder_outputs": settings["scale_logits"],
            "dropout_rate": 0.0,
        }

    @staticmethod
    def fits(settings):
        tying = settings["tie_embeddings"]
        demand(MODEL, settings, positions="relative", norm="rms", use_bias=False, qk_norm=False)
        demand(MODEL, settings, scale_attention=False, scale_embeddings=False, head_bias=False)
        demand(MODEL, settings, norm_first=True, final_norm=True, normalise_embeddings=False)
        demand(MODEL, settings, tie_embeddings="all" if tying == "all" else "inputs")
        demand(MODEL, settings, scale_logits=tying == "all")

    @staticmethod
    def weights(settings, prefix=""):
        yield Weight("embedding/embedding", ("shared.weight",), tokens=True)
        if settings["tie_embeddings"] == "inputs":
            yield Weight("embedding/head_embedding", ("lm_head.weight",), tokens=True)
        gated = (settings["hidden_width"],) * 2 if settings["activation"] in GATED else ()
        for stack, depth, first in stacks(settings):
            bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
            yield Weight(f"{first}relative_bias/relative_embedding", (bias,))
            yield from rms_norm(f"{stack}_norm", f"{stack}.final_layer_norm")
            for i in range(depth):
                ours, theirs = f"{stack}_{i}", f"{stack}.block.{i}.layer"
                own = [f"{theirs}.0.SelfAttention.{name}" for name in "qkvo"]
                yield from attention(settings, ours, "", own, bias=False)
                yield from rms_norm(f"{ours}/attention_norm", f"{theirs}.0.layer_norm")
                last = 1
                if stack == "decoder":
                    cross = [f"{theirs}.1.EncDecAttention.{name}" for name in "qkvo"]
                    yield from attention(settings, ours, "cross_", cross, bias=False)
                    yield from rms_norm(f"{ours}/cross_norm", f"{theirs}.1.layer_norm")
                    last = 2
                dense = f"{theirs}.{last}.DenseReluDense"
                up = [f"{dense}.wi_0", f"{dense}.wi_1"] if gated else [f"{dense}.wi"]
                yield from linear(f"{ours}/up", *up, shares=gated, bias=False)
                yield from linear(f"{ours}/down", f"{dense}.wo", bias=False)
                yield from rms_norm(f"{ours}/feed_forward_norm", f"{theirs}.{last}.layer_norm")

    @staticmethod
    def copies(settings):
        tied = ("lm_head.weight",) if settings["tie_embeddings"] == "all" else ()
        # The last of these the first T5s have and never used.
        return (
            *tied,
            "encoder.embed_tokens.weight",
            "decoder.embed_tokens.weight",
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
        )

    @staticmethod
    def prefix(folder):
        return ""


class Bart:
    """BART (Lewis et al. 2020), and what has its names: Marian, Pegasus."""

    model = MODEL
    model_types = ("bart", "marian", "pegasus")

    @staticmethod
    def settings(config):
        kind = config["model_type"]
        heads = config["decoder_attention_heads"]
        refuse(MODEL, config, encoder_attention_heads=heads)
        refuse(MODEL, config, encoder_ffn_dim=config["decoder_ffn_dim"])
        refuse(MODEL, config, share_encoder_decoder_embeddings=True, tie_word_embeddings=True)
        found = {
            "vocabulary_size": config["vocab_size"],
            "num_encoder_layers": config["encoder_layers"],
            "num_layers": config["decoder_layers"],
            "width": config["d_model"],
            "num_heads": heads,
            "head_width": config["d_model"] // heads,
            "hidden_width": config["decoder_ffn_dim"],
            "positions": "learned" if kind == "bart" else "sinusoidal",
            "norm": "layer",
            "norm_first": kind == "pegasus",
            "final_norm": kind == "pegasus",
            "activation": chosen(
                ACTIVATIONS, config.get("activation_function", "gelu"), "activation_function"
            ),
            "head_bias": True,
            "tie_embeddings": "all",
            "scale_embeddings": config.get("scale_embedding", False),
            "normalise_embeddings": kind == "bart",
        }
        if kind == "bart":
            found["context_length"] = config["max_position_embeddings"]
        return found

    @staticmethod
    def config(settings):
        kind = Bart.kind(settings)
        names = {"bart": "BartForConditionalGeneration", "marian": "MarianMTModel"}
        sizes = {
            f"{stack}_{name}": value
            for stack, depth, _ in stacks(settings)
            for name, value in (
                ("layers", depth),
                ("attention_heads", settings["num_heads"]),
                ("ffn_dim", settings["hidden_width"]),
            )
        }
        rates = ("dropout", "attention_dropout", "activation_dropout")
        return {
            "model_type": kind,
            "architectures": [names.get(kind, "PegasusForConditionalGeneration")],
            "is_encoder_decoder": True,
            "vocab_size": settings["vocabulary_size"],
            **sizes,
            "d_model": settings["width"],
            "max_position_embeddings": settings["context_length"] or 1024,
            "activation_function": back(ACTIVATIONS, settings["activation"], f"{MODEL}.activation"),
            "scale_embedding": settings["scale_embeddings"],
            "share_encoder_decoder_embeddings": True,
            "tie_word_embeddings": True,
            **dict.fromkeys(rates, 0.0),
        }

    @staticmethod
    def kind(settings):
        """The model_type of Transformers that has these settings."""
        if settings["positions"] == "learned":
            return "bart"
        return "pegasus" if settings["norm_first"] else "marian"

    @staticmethod
    def fits(settings):
        kind = Bart.kind(settings)
        demand(MODEL, settings, positions="learned" if kind == "bart" else "sinusoidal")
        demand(MODEL, settings, norm="layer", use_bias=True, head_bias=True, qk_norm=False)
        demand(MODEL, settings, norm_epsilon=1e-5, tie_embeddings="all")
        demand(MODEL, settings, norm_first=kind == "pegasus", final_norm=kind == "pegasus")
        demand(MODEL, settings, normalise_embeddings=kind == "bart")
        demand(MODEL, settings, scale_attention=True, scale_logits=False)
        demand(MODEL, settings, head_width=settings["width"] // settings["num_heads"])

    @staticmethod
    def weights(settings, prefix="model."):
        kind = Bart.kind(settings)
        yield Weight("embedding/embedding", (f"{prefix}shared.weight",), tokens=True)
        bias = ("final_logits_bias",)
        yield Weight("embedding/bias", bias, tokens=True, in_row=True, optional=True)
        for stack, depth, first in stacks(settings):
            whole = f"{prefix}{stack}"
            if kind == "bart":
                table = (f"{whole}.embed_positions.weight",)
                yield Weight(f"{first}position_embedding/position_embedding", table, unused=2)
                yield from layer_norm(f"{first}embedding_norm", f"{whole}.layernorm_embedding")
            if kind == "pegasus":
                yield from layer_norm(f"{stack}_norm", f"{whole}.layer_norm")
            for i in range(depth):
                ours, theirs = f"{stack}_{i}", f"{whole}.layers.{i}"
                places = [("", "self_attn", "attention_norm")]
                if stack == "decoder":
                    places.append(("cross_", "encoder_attn", "cross_norm"))
                for before, name, norm in places:
                    parts = [f"{theirs}.{name}.{part}_proj" for part in ("q", "k", "v", "out")]
                    yield from attention(settings, ours, before, parts, bias=True)
                    yield from layer_norm(f"{ours}/{norm}", f"{theirs}.{name}_layer_norm")
                yield from linear(f"{ours}/up", f"{theirs}.fc1")
                yield from linear(f"{ours}/down", f"{theirs}.fc2")
                yield from layer_norm(f"{ours}/feed_forward_norm", f"{theirs}.final_layer_norm")

    @staticmethod
    def copies(settings):
        names = ["embed_tokens"]
        if settings["positions"] == "sinusoidal":
            names.append("embed_positions")
        stacks = [
            f"{prefix}{stack}" for prefix in ("", "model.") for stack in ("encoder", "decoder")
        ]
        return ("lm_head.weight", *(f"{stack}.{name}.weight" for stack in stacks for name in names))

    @staticmethod
    def prefix(folder):
        return "model." if "model.shared.weight" in folder else ""


GATED = ("geglu", "swiglu")


def stacks(settings):
    """(name, depth, what our names of its weights outside of blocks begin with)"""
    return (
        ("encoder", settings["num_encoder_layers"], "source_"),
        ("decoder", settings["num_layers"], ""),
    )


def attention(settings, ours, before, theirs, bias):
    """Weights of an attention, theirs of queries, keys, values and the output apart."""
    q, k, v, output = theirs
    share = settings["num_heads"] * settings["head_width"]
    if before:
        yield from linear(f"{ours}/cross_query", q, bias=bias)
        yield from linear(f"{ours}/cross_key_value", k, v, shares=(share,) * 2, bias=bias)
    else:
        yield from linear(f"{ours}/qkv", q, k, v, shares=(share,) * 3, bias=bias)
    yield from linear(f"{ours}/{before}output", output, bias=bias)
