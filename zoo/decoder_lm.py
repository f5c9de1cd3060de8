"""Decoder-only Transformer: GPT-2, Llama and small modern variants are settings of one class.

* GPT-2 (Radford et al. 2019): positions="learned", norm="layer", activation="gelu",
  use_bias=True, tie_embeddings=True, output_scale=(2 * num_layers) ** -0.5
* Llama (Touvron et al. 2023): rotary positions, norm="rms", activation="swiglu",
  fewer num_kv_heads than num_heads, no biases
* small and modern (Jordan et al. 2024, modded-nanogpt): the defaults, with qk_norm,
  activation="squared_relu", output_scale=0, logit_soft_cap
"""

import keras
from keras import ops

from zoo.layers import initializers
from zoo.layers import positions as position_layers
from zoo.layers.attention import Attention, cache_mask, causal_mask, extended, slots_before
from zoo.layers.block import Block
from zoo.layers.convolution import ShortConvolution
from zoo.layers.dropout import Dropout
from zoo.layers.embedding import TokenEmbedding
from zoo.layers.feed_forward import FeedForward
from zoo.layers.norms import norm as make_norm
from zoo.model import (
    LanguageModel,
    check_divides,
    check_positive,
    dense_flops,
    extended_positions,
    positions_of,
)


@keras.saving.register_keras_serializable("menagerie")
class DecoderLM(LanguageModel):
    """Predicts each token from those before it.

    Args:
      vocabulary_size: V.
      num_layers, width, num_heads: the model's size.
      num_kv_heads: heads of keys and values; None for as many as `num_heads`.
      head_width: of a head; None for width / num_heads.
      hidden_width: of the feed-forward network; None for 4 * width.
      context_length: rows of the table of learned positions.
      positions: "rotary", "learned", "sinusoidal" or "none".
      rotary_base, rotary_scaling: see `positions.frequencies`.
      norm, norm_epsilon: "rms", "layer" or "rms_without_gain", and what keeps it from dividing by 0.
      activation: "squared_relu", "gelu", "exact_gelu", "relu", "silu", "swiglu" or "geglu".
      use_bias: biases in all projections; "qkv" for those of queries, keys and values alone.
      qk_norm: normalises queries and keys, without gain; "rms" for a norm with gain.
      tie_embeddings: logits use the token table.
      output_scale: initial scale of projections into the residual stream; 0 for zeros.
      embedding_stddev: of the token table at the start.
      scale_embeddings: multiplies token vectors by sqrt(width).
      short_convolution: tokens, the own included, that a token's vector is made of before the first
        block, see `ShortConvolution`; None for the own alone.
      begin_token: the token that is read where a text begins, in place of <eos>, 0.
      logit_soft_cap: see `finished` in model.py; None for none.
      window: tokens back that attention sees, itself included; None for all.
      dropout: rate after the embedding and on every sublayer's output.
      token_dropout: rate at which whole token vectors are left out (Iyyer et al. 2015, 3.1).
      rematerialise: recompute each block's activations in the backward pass (Chen et al. 2016):
        less memory for up to a third more time.

    Raises:
      ValueError: settings that do not fit together.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int = 4,
        width: int = 128,
        num_heads: int = 4,
        num_kv_heads: int | None = None,
        head_width: int | None = None,
        hidden_width: int | None = None,
        context_length: int | None = None,
        positions: str = "rotary",
        rotary_base: float = 10000.0,
        rotary_scaling: dict | None = None,
        norm: str = "rms",
        norm_epsilon: float = 1e-5,
        activation: str = "squared_relu",
        use_bias: bool | str = False,
        qk_norm: bool | str = False,
        tie_embeddings: bool = False,
        output_scale: float = 1.0,
        embedding_stddev: float = 0.02,
        scale_embeddings: bool = False,
        short_convolution: int | None = None,
        begin_token: int = 0,
        logit_soft_cap: float | None = None,
        window: int | None = None,
        dropout: float = 0.0,
        token_dropout: float = 0.0,
        rematerialise: bool = False,
        name: str | None = None,
    ):
        super().__init__(name=name)
        check_positive(
            vocabulary_size=vocabulary_size,
            num_layers=num_layers,
            width=width,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            head_width=head_width,
            hidden_width=hidden_width,
            context_length=context_length,
            window=window,
        )
        num_kv_heads = num_kv_heads or num_heads
        if head_width is None:
            check_divides(width, num_heads, "heads")
            head_width = width // num_heads
        if use_bias not in (True, False, "qkv"):
            raise ValueError(f"use_bias {use_bias!r} is none of True, False, 'qkv'")
        if qk_norm not in (True, False, "rms"):
            raise ValueError(f"qk_norm {qk_norm!r} is none of True, False, 'rms'")
        if num_heads % num_kv_heads:
            raise ValueError(f"num_heads {num_heads} is not divisible by {num_kv_heads} kv heads")
        position_layers.check(positions, width, head_width, context_length, rotary_scaling)
        if positions == "relative":
            raise ValueError("DecoderLM has no relative positions; use 'rotary'")
        if short_convolution is not None and short_convolution < 2:
            raise ValueError(
                f"short_convolution {short_convolution} sees no token before; use 2 or more, or None"
            )
        if logit_soft_cap is not None and logit_soft_cap <= 0:
            raise ValueError(f"logit_soft_cap {logit_soft_cap} is not positive")
        self.width = width
        self.head_width = head_width
        self.num_heads = num_heads
        self.positions = positions
        if not 0 <= begin_token < vocabulary_size:
            raise ValueError(f"begin_token {begin_token} is none of {vocabulary_size} tokens")
        self.begin_token = begin_token
        self.rotary_base = rotary_base
        self.rotary_scaling = rotary_scaling
        self.embedding_scale = width**0.5 if scale_embeddings else 1.0
        self.logit_soft_cap = logit_soft_cap
        self.window = window
        self.rematerialise = rematerialise

        self.embedding = TokenEmbedding(
            vocabulary_size,
            width,
            initializers.normal(embedding_stddev),
            None if tie_embeddings else initializers.head(width, output_scale),
            name="embedding",
        )
        self.convolution = None
        if short_convolution is not None:
            # Its name tells optimizers that it is no matrix.
            self.convolution = ShortConvolution(
                width, short_convolution, name="embedding_convolution"
            )
        if positions == "learned":
            self.context_length = context_length
            self.position_embedding = position_layers.LearnedPositions(
                context_length, width, embedding_stddev, name="position_embedding"
            )
        self.dropout = Dropout(dropout, place=0)
        at_end = 1 + 8 * num_layers  # behind those of the blocks
        self.token_dropout = Dropout(token_dropout, place=at_end, whole_vectors=True)

        def block(place, name):
            with keras.name_scope(name):  # so that every weight has a path of its own
                return Block(
                    width,
                    Attention(
                        width,
                        num_heads,
                        num_kv_heads,
                        head_width,
                        use_bias,
                        qk_norm,
                        output_scale,
                        norm_epsilon,
                    ),
                    FeedForward(
                        width, hidden_width or 4 * width, activation, use_bias is True, output_scale
                    ),
                    norm_kind=norm,
                    norm_epsilon=norm_epsilon,
                    dropout=dropout,
                    place=place,
                    name=name,
                )

        self.blocks = [block(i, f"block_{i}") for i in range(num_layers)]
        self.final_norm = make_norm(norm, width, "final_norm", norm_epsilon)
        self.built = True

    def hidden(self, features, state=None, training=False):
        positions = positions_of(features)
        length = ops.shape(features["inputs"])[1]
        mask = causal_mask(features.get("segments"), length, self.window)
        x, rotation = self.embed(features["inputs"], positions, training)
        for block in self.blocks:
            apply = block.rematerialised if self.rematerialise and training else block
            x = apply(x, mask, rotation, training=training)
        return self.final_norm(x), state

    def embed(self, tokens, positions, training=False, before=None):
        """Token vectors with their positions, and the rotation for the blocks if there is one.

        Args:
          before: int32 [B, short_convolution - 1], the tokens in front of the first; or None.
        """
        x = self.token_dropout(self.vectors(tokens), training=training)
        if self.convolution is not None:
            before = None if before is None else self.vectors(before)
            x = self.convolution(x, before, positions)
        if self.embedding_scale != 1.0:
            x = x * ops.cast(self.embedding_scale, x.dtype)
        rotation = None
        if self.positions == "rotary":
            rotation = position_layers.rotation(
                positions, self.head_width, self.rotary_base, self.rotary_scaling
            )
        elif self.positions == "learned":
            x = x + self.position_embedding(positions)
        elif self.positions == "sinusoidal":
            x = x + ops.cast(position_layers.sinusoids(positions, self.width), x.dtype)
        return self.dropout(x, training=training), rotation

    def vectors(self, tokens):
        """int32 [B, T] -> [B, T, width], what the token table has of them."""
        if self.begin_token:
            tokens = ops.where(tokens == 0, self.begin_token, tokens)
        return self.embedding(tokens)

    def logit_parts(self, hidden):
        return self.embedding(hidden, to_logits=True), None, self.logit_soft_cap

    def start(self, batch_size, max_length, features=None):
        padding = (features or {}).get("padding")
        caches = [b.attention.empty_cache(batch_size, max_length) for b in self.blocks]
        if self.convolution is not None:  # of tokens, which tell their vectors
            caches.append({"tokens": ops.zeros((batch_size, 1, max_length, 1), "int32")})
        return {
            "index": ops.zeros((batch_size,), "int32"),
            "padding": ops.zeros((batch_size,), "int32") if padding is None else padding,
            "caches": caches,
        }

    def read(self, tokens, state):
        index, padding = state["index"], state["padding"]
        length = ops.shape(tokens)[1]
        max_length = ops.shape(state["caches"][0]["keys"])[2]
        mask = cache_mask(index, length, max_length, padding, self.window)
        positions = extended_positions(index, length, padding)
        x, rotation = self.embed(tokens, positions, before=self.last_read(state))
        written = []
        for block, cache in zip(self.blocks, state["caches"], strict=False):
            x, new = block(x, mask, rotation, cache=cache)
            written.append(new)
        if self.convolution is not None:
            written.append({"tokens": tokens[:, None, :, None]})
        return self.final_norm(x), extended(state, written, length, x)

    def last_read(self, state):
        """The tokens before the next that a short convolution sees, [B, size - 1]; or None."""
        if self.convolution is None or state["caches"][-1]["tokens"].shape[2] == 0:
            return None
        tokens = state["caches"][-1]["tokens"]
        return slots_before(tokens, state["index"], self.convolution.size - 1)[:, 0, :, 0]

    def matmul_flops_per_token(self, sequence_length, source_length=0, predicted=1.0):
        seen = min(sequence_length, self.window or sequence_length)
        attention = 4 * len(self.blocks) * self.num_heads * self.head_width * seen
        softmax = predicted * 2 * self.width * self.embedding.vocabulary_size
        return dense_flops(self) + softmax + attention
