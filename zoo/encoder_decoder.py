"""Encoder-decoder Transformer: the original, pre-norm and T5-like variants are settings.

* the original (Vaswani et al. 2017): norm_first=False, positions="sinusoidal", activation="relu"
* T5 (Raffel et al. 2020): norm="rms", positions="relative", use_bias=False
* BART (Lewis et al. 2020): norm_first=False, positions="learned", normalise_embeddings=True,
  activation="exact_gelu"
* the defaults: pre-norm with rotary positions in both stacks
"""

import keras
from keras import ops

from zoo.layers import initializers
from zoo.layers import positions as position_layers
from zoo.layers.attention import (
    Attention,
    CrossAttention,
    cache_mask,
    causal_mask,
    extended,
    segment_mask,
)
from zoo.layers.block import Block
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

TYINGS = ("all", "target", "inputs", "none")


@keras.saving.register_keras_serializable("menagerie")
class EncoderDecoder(LanguageModel):
    """Reads a source, predicts each target token from it and from the tokens before.

    Args:
      vocabulary_size: V, of source and target alike.
      num_layers: of the decoder, and of the encoder unless `num_encoder_layers` says.
      width, num_heads, hidden_width: the model's size; hidden_width None for 4 * width.
      head_width: of one head; None for width / num_heads.
      context_length: rows of the tables of learned positions.
      positions: "rotary", "sinusoidal", "learned", "relative" (T5's biases) or "none".
      norm: "layer", "rms" or "rms_without_gain".
      norm_epsilon: added to the mean of squares.
      norm_first: normalise before each sublayer rather than after the residual sum.
      final_norm: normalise the last vectors of both stacks; None for as `norm_first`.
      activation: see `feed_forward.FeedForward`.
      use_bias: biases in all projections.
      head_bias: a bias of the logits.
      qk_norm: normalises queries and keys of self-attention.
      tie_embeddings: "all" (source, target and softmax), "target" (target and softmax), "inputs"
        (source and target) or "none" (Press and Wolf 2017, section 3).
      scale_embeddings: multiplies token vectors by sqrt(width) (Vaswani et al. 2017, 3.4).
      normalise_embeddings: normalise token vectors with their positions, in both stacks.
      scale_attention: divide scores by sqrt(head width); T5 has that in its first weights instead.
      scale_logits: divide the decoder's vectors by sqrt(width) before the softmax weights, as T5.
      begin_token: the target's token that is read before the first, in place of <eos>, 0.
      dropout: rate after embeddings and on every sublayer's output.
      token_dropout: rate at which whole token vectors of the source are left out (Iyyer et al.
        2015, 3.1).
      rematerialise: recompute each block's activations in the backward pass (Chen et al. 2016):
        less memory for up to a third more time.

    Raises:
      ValueError: settings that do not fit together.
    """

    reads_source = True

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int = 3,
        num_encoder_layers: int | None = None,
        width: int = 128,
        num_heads: int = 4,
        head_width: int | None = None,
        hidden_width: int | None = None,
        context_length: int | None = None,
        positions: str = "rotary",
        norm: str = "layer",
        norm_epsilon: float = 1e-5,
        norm_first: bool = True,
        final_norm: bool | None = None,
        activation: str = "relu",
        use_bias: bool = True,
        head_bias: bool = False,
        qk_norm: bool = False,
        tie_embeddings: str = "all",
        scale_embeddings: bool = True,
        normalise_embeddings: bool = False,
        scale_attention: bool = True,
        scale_logits: bool = False,
        begin_token: int = 0,
        dropout: float = 0.0,
        token_dropout: float = 0.0,
        rematerialise: bool = False,
        name: str | None = None,
    ):
        super().__init__(name=name)
        check_positive(
            vocabulary_size=vocabulary_size,
            num_layers=num_layers,
            num_encoder_layers=num_encoder_layers,
            width=width,
            num_heads=num_heads,
            head_width=head_width,
            hidden_width=hidden_width,
            context_length=context_length,
        )
        if head_width is None:
            check_divides(width, num_heads, "heads")
            head_width = width // num_heads
        position_layers.check(positions, width, head_width, context_length)
        if tie_embeddings not in TYINGS:
            raise ValueError(
                f"tie_embeddings {tie_embeddings!r} is none of {', '.join(map(repr, TYINGS))}"
            )
        if not 0 <= begin_token < vocabulary_size:
            raise ValueError(f"begin_token {begin_token} is none of {vocabulary_size} tokens")
        self.width = width
        self.head_width = head_width
        self.num_heads = num_heads
        self.begin_token = begin_token
        self.logit_scale = width**-0.5 if scale_logits else 1.0
        self.positions = positions
        self.rematerialise = rematerialise
        self.embedding_scale = width**0.5 if scale_embeddings else 1.0

        table = initializers.normal(width**-0.5)  # tied logits then start with deviation 1
        apart = tie_embeddings in ("inputs", "none")
        head = initializers.head(width, 1.0) if apart else None
        self.embedding = TokenEmbedding(
            vocabulary_size, width, table, head, head_bias, name="embedding"
        )
        self.source_embedding = self.embedding
        if tie_embeddings in ("target", "none"):
            self.source_embedding = TokenEmbedding(
                vocabulary_size, width, table, name="source_embedding"
            )
        if positions == "learned":
            self.context_length = context_length
            self.position_embedding, self.source_position_embedding = (
                position_layers.LearnedPositions(context_length, width, 0.02, name=name)
                for name in ("position_embedding", "source_position_embedding")
            )
        if positions == "relative":
            self.relative_bias, self.source_relative_bias = (
                position_layers.RelativeBias(num_heads, bidirectional, name=name)
                for name, bidirectional in (
                    ("relative_bias", False),
                    ("source_relative_bias", True),
                )
            )

        scale = None if scale_attention else 1.0

        def block(place, name, cross):
            with keras.name_scope(name):  # so that every weight has a path of its own
                cross_attention = None
                if cross:
                    cross_attention = CrossAttention(
                        width, num_heads, head_width, use_bias, 1.0, scale
                    )
                return Block(
                    width,
                    Attention(
                        width,
                        num_heads,
                        num_heads,
                        head_width,
                        use_bias,
                        qk_norm,
                        1.0,
                        norm_epsilon,
                        scale,
                    ),
                    FeedForward(width, hidden_width or 4 * width, activation, use_bias, 1.0),
                    cross_attention,
                    norm_kind=norm,
                    norm_epsilon=norm_epsilon,
                    norm_first=norm_first,
                    dropout=dropout,
                    place=place,
                    name=name,
                )

        depth = num_layers if num_encoder_layers is None else num_encoder_layers
        self.encoder = [block(i, f"encoder_{i}", cross=False) for i in range(depth)]
        self.decoder = [block(depth + i, f"decoder_{i}", cross=True) for i in range(num_layers)]
        # Post-norm blocks end normalised; pre-norm stacks need one norm more.
        at_end = norm_first if final_norm is None else final_norm

        def norm_where(wanted, name):
            return make_norm(norm, width, name, norm_epsilon) if wanted else None

        self.encoder_norm = norm_where(at_end, "encoder_norm")
        self.decoder_norm = norm_where(at_end, "decoder_norm")
        self.embedding_norm = norm_where(normalise_embeddings, "embedding_norm")
        self.source_embedding_norm = norm_where(normalise_embeddings, "source_embedding_norm")
        next_place = 1 + 8 * (depth + num_layers)  # behind those of the blocks
        self.dropouts = [Dropout(dropout, place=next_place + i) for i in range(2)]
        self.token_dropout = Dropout(token_dropout, place=next_place + 2, whole_vectors=True)
        self.built = True

    def encode(self, features, training=False):
        """The source's hidden vectors [B, S, width]."""
        tokens = features["source"]
        segments = source_segments(features)
        positions = positions_of({"inputs": tokens, "positions": features.get("source_positions")})
        mask = segment_mask(segments, segments)
        x, rotation = self.embed_source(tokens, positions, training)
        bias = None
        if self.positions == "relative":
            bias = self.source_relative_bias(positions, positions)
        for block in self.encoder:
            apply = block.rematerialised if self.rematerialise and training else block
            x = apply(x, mask, rotation, bias, training=training)
        return x if self.encoder_norm is None else self.encoder_norm(x)

    def hidden(self, features, state=None, training=False):
        encoded = self.encode(features, training)
        tokens, segments = features["inputs"], features.get("segments")
        positions = positions_of(features)
        mask = causal_mask(segments, ops.shape(tokens)[1])
        own = ops.ones_like(tokens) if segments is None else segments
        source_mask = segment_mask(own, source_segments(features))
        x, rotation = self.embed(tokens, positions, training)
        bias = None
        if self.positions == "relative":
            bias = self.relative_bias(positions, positions)
        for block in self.decoder:
            source = block.cross_attention.project(encoded)
            apply = block.rematerialised if self.rematerialise and training else block
            x = apply(x, mask, rotation, bias, source, source_mask, training=training)
        return self.normalised(x), state

    def embed_source(self, tokens, positions, training=False):
        """Vectors of the source's tokens with their positions, and the rotation for the blocks."""
        x = self.token_dropout(self.source_embedding(tokens), training=training)
        learned = self.positions == "learned" and self.source_position_embedding
        x, rotation = self.place(x, positions, learned, self.source_embedding_norm)
        return self.dropouts[0](x, training=training), rotation

    def embed(self, tokens, positions, training=False):
        """The same of the target's."""
        if self.begin_token:
            tokens = ops.where(tokens == 0, self.begin_token, tokens)
        x = self.embedding(tokens)
        learned = self.positions == "learned" and self.position_embedding
        x, rotation = self.place(x, positions, learned, self.embedding_norm)
        return self.dropouts[1](x, training=training), rotation

    def place(self, x, positions, learned, norm):
        x = x * ops.cast(self.embedding_scale, x.dtype)
        rotation = None
        if self.positions == "rotary":
            rotation = position_layers.rotation(positions, self.head_width)
        elif self.positions == "sinusoidal":
            x = x + ops.cast(position_layers.sinusoids(positions, self.width), x.dtype)
        elif self.positions == "learned":
            x = x + learned(positions)
        return (x if norm is None else norm(x)), rotation

    def normalised(self, x):
        x = x if self.decoder_norm is None else self.decoder_norm(x)
        return x if self.logit_scale == 1.0 else x * ops.cast(self.logit_scale, x.dtype)

    def logit_parts(self, hidden):
        return self.embedding(hidden, to_logits=True), self.embedding.bias, None

    def start(self, batch_size, max_length, features=None):
        if features is None or "source" not in features:
            raise ValueError("EncoderDecoder reads a source: `start` needs features with `source`")
        encoded = self.encode(features)
        padding = features.get("padding")
        return {
            "index": ops.zeros((batch_size,), "int32"),
            "padding": ops.zeros((batch_size,), "int32") if padding is None else padding,
            "caches": [b.attention.empty_cache(batch_size, max_length) for b in self.decoder],
            "sources": [b.cross_attention.project(encoded) for b in self.decoder],
            "source_held": source_segments(features) > 0,
        }

    def read(self, tokens, state):
        index, padding = state["index"], state["padding"]
        length = ops.shape(tokens)[1]
        max_length = ops.shape(state["caches"][0]["keys"])[2]
        positions = extended_positions(index, length, padding)
        mask = cache_mask(index, length, max_length, padding)
        source_mask = state["source_held"][:, None, None, :]
        x, rotation = self.embed(tokens, positions)
        bias = None
        if self.positions == "relative":
            cached = extended_positions(ops.zeros_like(index), max_length, padding)
            bias = self.relative_bias(positions, ops.concatenate([cached, positions], axis=1))
        written = []
        for block, cache, source in zip(
            self.decoder, state["caches"], state["sources"], strict=True
        ):
            x, new = block(x, mask, rotation, bias, source, source_mask, cache=cache)
            written.append(new)
        return self.normalised(x), extended(state, written, length, x)

    def matmul_flops_per_token(self, sequence_length, source_length=0, predicted=1.0):
        """Of one target token, its share of the encoder's work included."""
        a_pair = 4 * self.num_heads * self.head_width  # scores and mixing, of two tokens
        source = sum(dense_flops(block) + a_pair * source_length for block in self.encoder)
        target = predicted * 2 * self.width * self.embedding.vocabulary_size
        for block in self.decoder:
            key_value = dense_flops(block.cross_attention.key_value)  # once a source token
            source += key_value
            target += dense_flops(block) - key_value
            target += a_pair * (sequence_length + source_length)
        return target + source * source_length / sequence_length


def source_segments(features):
    """`source_segments` of the features, or 1 everywhere."""
    segments = features.get("source_segments")
    return ops.ones_like(features["source"]) if segments is None else segments
