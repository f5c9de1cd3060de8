"""Presets of KerasHub that zoo.EncoderDecoder is, BART and T5: told as Transformers would tell them.

The zoo's settings and weights are made of that, see hugging_face/encoder_decoders.py.
"""

import numpy as np

from trainers.errors import UserError
from trainers.hub import tokenizer
from trainers.hugging_face.folder import CONFIG, Checkpoint, complete


class Bart:
    """BartBackbone."""

    @staticmethod
    def config(settings):
        names = {"layers": "num_layers", "attention_heads": "num_heads"}
        names["ffn_dim"] = "intermediate_dim"
        return {
            "model_type": "bart",
            **{f"encoder_{theirs}": settings[ours] for theirs, ours in names.items()},
            **{f"decoder_{theirs}": settings[ours] for theirs, ours in names.items()},
            "d_model": settings["hidden_dim"],
            "max_position_embeddings": settings["max_sequence_length"],
        }

    @staticmethod
    def begin_id(kind, ids):
        """The id of the token that targets begin with."""
        return ids[kind.end]

    @staticmethod
    def weights(backbone):
        yield "model.shared.weight", backbone.token_embedding.embeddings
        for stack in ("encoder", "decoder"):
            ours = f"model.{stack}"
            table = getattr(backbone, f"{stack}_position_embedding").position_embeddings
            # Two rows that Transformers has before the first place.
            yield f"{ours}.embed_positions.weight", np.pad(table, [(2, 0), (0, 0)])
            norm = getattr(backbone, f"{stack}_embeddings_layer_norm")
            yield from layer_norm(f"{ours}.layernorm_embedding", norm)
            for i, block in enumerate(getattr(backbone, f"{stack}_transformer_layers")):
                yield from Bart.block(f"{ours}.layers.{i}", block, stack == "decoder")

    @staticmethod
    def block(ours, block, is_decoder):
        places = [("self_attn", "self_attention")]
        if is_decoder:
            places.append(("encoder_attn", "cross_attention"))
        for name, theirs in places:
            attention = getattr(block, f"_{theirs}_layer")
            for letter in ("query", "key", "value", "output"):
                part = {"output": "out"}.get(letter, letter[0])
                layer = getattr(attention, f"_{letter}_dense")
                yield from dense(f"{ours}.{name}.{part}_proj", layer)
            yield from layer_norm(
                f"{ours}.{name}_layer_norm", getattr(block, f"_{theirs}_layer_norm")
            )
        yield from dense(f"{ours}.fc1", block._feedforward_intermediate_dense)
        yield from dense(f"{ours}.fc2", block._feedforward_output_dense)
        yield from layer_norm(f"{ours}.final_layer_norm", block._feedforward_layer_norm)


class T5:
    """T5Backbone: T5 and what came of it, with tied embeddings and without."""

    @staticmethod
    def config(settings):
        activation = settings["activation"]
        if isinstance(activation, dict):  # a function that is not Keras' own
            activation = activation["config"]
        activation = activation.rpartition(">")[2]
        kinds = {"relu": "relu", "gelu_approximate": "gelu", "silu": "silu"}
        if activation not in kinds:
            raise UserError(f"its activation is {activation!r}; known are {', '.join(kinds)}")
        gated = "gated-" if settings["use_gated_activation"] else ""
        return {
            "model_type": "t5",
            "num_layers": settings["num_layers"],
            "d_model": settings["hidden_dim"],
            "num_heads": settings["num_heads"],
            "d_kv": settings["key_value_dim"] or settings["hidden_dim"] // settings["num_heads"],
            "d_ff": settings["intermediate_dim"],
            "layer_norm_epsilon": settings["layer_norm_epsilon"],
            "feed_forward_proj": gated + kinds[activation],
            "tie_word_embeddings": settings["tie_embedding_weights"],
        }

    @staticmethod
    def begin_id(kind, ids):
        return ids["<pad>"]

    @staticmethod
    def weights(backbone):
        table = backbone.token_embedding
        yield "shared.weight", table.embeddings
        if not table.tie_weights:
            yield "lm_head.weight", np.asarray(table.reverse_embeddings).T
        for stack in ("encoder", "decoder"):
            blocks = getattr(backbone, f"{stack}_transformer_layers")
            bias = blocks[0].self_attention.relative_attention_bias
            name = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
            yield name, bias
            norm = getattr(backbone, f"{stack}_layer_norm")
            yield f"{stack}.final_layer_norm.weight", norm.weight
            for i, block in enumerate(blocks):
                yield from T5.block(f"{stack}.block.{i}.layer", block)

    @staticmethod
    def block(ours, block):
        places = [("SelfAttention", "self_attention")]
        if block.is_decoder:
            places.append(("EncDecAttention", "cross_attention"))
        for i, (name, theirs) in enumerate(places):
            attention = getattr(block, theirs)
            for letter, part in zip("qkvo", ("query", "key", "value", "output"), strict=True):
                layer = getattr(attention, f"{part}_projector")
                yield from dense(f"{ours}.{i}.{name}.{letter}", layer)
            yield f"{ours}.{i}.layer_norm.weight", getattr(block, f"{theirs}_layer_norm").weight
        last = f"{ours}.{len(places)}"
        inner = f"{last}.DenseReluDense"
        if block.use_gated_activation:
            yield from dense(f"{inner}.wi_0", block.input_projector)
            yield from dense(f"{inner}.wi_1", block.gate_projector)
        else:
            yield from dense(f"{inner}.wi", block.input_projector)
        yield from dense(f"{inner}.wo", block.output_projector)
        yield f"{last}.layer_norm.weight", block.layer_norm.weight


BACKBONES = {"Bart": Bart, "T5": T5}


def config_of(path, backbone, settings):
    """What would stand in a config.json of Transformers, of a preset's settings.

    Raises:
      UserError: settings that the zoo has not; no tokenizer, which says what targets begin with.
    """
    family = BACKBONES[backbone]
    kind, source = tokenizer.read(path)
    ids = tokenizer.ids_in(source, kind)
    try:
        with complete(CONFIG):
            config = family.config(settings)
            config["vocab_size"] = settings["vocabulary_size"]
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return {
        **config,
        "is_encoder_decoder": True,
        "eos_token_id": ids[kind.end],
        "decoder_start_token_id": family.begin_id(kind, ids),
    }


def checkpoint_of(path, backbone, config):
    """A `Checkpoint` of a backbone of KerasHub with its weights."""
    family = BACKBONES[type(backbone).__name__.removesuffix("Backbone")]
    weights = {name: np.asarray(value) for name, value in family.weights(backbone)}
    return Checkpoint(path, config, weights)


def dense(name, layer):
    """A matrix of Keras as PyTorch has it, heads side by side."""
    kernel = np.asarray(layer.kernel)
    width = kernel.shape[-1]
    if layer.bias is not None:
        bias = np.asarray(layer.bias).reshape(-1)
        width = bias.size
        yield f"{name}.bias", bias
    yield f"{name}.weight", kernel.reshape(-1, width).T


def layer_norm(name, layer):
    yield f"{name}.weight", layer.gamma
    yield f"{name}.bias", layer.beta
