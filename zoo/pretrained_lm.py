"""Decoders that KerasHub has and `DecoderLM` is not: Gemma 2 and 3, Phi-3, OPT, mixtures of experts.

The layers are KerasHub's own; here they are put on the contract of zoo/model.py.
"""

import inspect
import math

import keras
from keras import ops

from zoo.layers.dropout import draw_by_step_seed
from zoo.model import LanguageModel, check_positive

BACKBONES = (
    "Bloom",
    "Falcon",
    "GPT2",
    "Gemma",
    "Gemma3",
    "GptOss",
    "Llama",
    "Llama3",
    "Mistral",
    "Mixtral",
    "OPT",
    "Phi3",
    "Qwen",
    "Qwen3",
    "Qwen3Moe",
    "QwenMoe",
    "SmolLM3",
)


@keras.saving.register_keras_serializable("menagerie")
class PretrainedLM(LanguageModel):
    """A decoder of KerasHub, as data describes it.

    A row is one example from its first place on, with padding behind it: KerasHub's layers know
    neither segments nor positions. A router's own loss, of mixtures of experts, is not learned.

    In decoding, rows that have read equally many tokens are read together, and rows of unequal
    length take turns: KerasHub's caches have one index for all rows.

    Args:
      vocabulary_size: V.
      backbone: one of `BACKBONES`: "Gemma" for `keras_hub.models.GemmaBackbone`, Gemma 2 included.
      settings: that class' arguments, numbers and texts, all but `vocabulary_size`, `dtype` and
        rates of dropout.
      dropout: rate, wherever the backbone has dropout.
      begin_token: the token that is read where a text begins, in place of <eos>, 0.

    Raises:
      ValueError: no such backbone, settings that it has not or that do not fit together.
    """

    reads_packed_rows = False
    weight_kinds = ("float32",)

    def __init__(
        self,
        vocabulary_size: int,
        backbone: str = "",
        settings: dict | None = None,
        dropout: float = 0.0,
        begin_token: int = 0,
        name: str | None = None,
    ):
        super().__init__(name=name)
        check_positive(vocabulary_size=vocabulary_size)
        if backbone not in BACKBONES:
            raise ValueError(f"backbone {backbone!r} is none of {', '.join(BACKBONES)}")
        if not 0 <= begin_token < vocabulary_size:
            raise ValueError(f"begin_token {begin_token} is none of {vocabulary_size} tokens")
        import keras_hub  # which takes seconds

        backbone_class = getattr(keras_hub.models, f"{backbone}Backbone")
        known = inspect.signature(backbone_class.__init__).parameters
        settings = {"vocabulary_size": vocabulary_size, **(settings or {})}
        for setting in settings:
            if setting not in known:
                raise ValueError(f"settings: {backbone_class.__name__} has no {setting!r}")
        rates = {setting: dropout for setting in known if "dropout" in setting}
        causal_lm_class = getattr(keras_hub.models, f"{backbone}CausalLM")
        try:
            inner = backbone_class(**{**settings, **rates})
        except TypeError as error:
            raise ValueError(f"settings: {error}") from error
        self.causal_lm = causal_lm_class(backbone=inner, preprocessor=None)
        self.backbone.token_embedding.reverse_dtype = "float32"  # logits, whatever else is
        self.head_shape = head_shape(inner)
        self.caches_apart = backbone == "Gemma3"
        self.begin_token = begin_token
        draw_by_step_seed(self)
        for layer in self._flatten_layers():
            if isinstance(layer, keras_hub.layers.PositionEmbedding):
                self.context_length = layer.sequence_length
        self.built = True

    @property
    def backbone(self):
        """KerasHub's model, of tokens to what comes before the logits."""
        return self.causal_lm.backbone

    def hidden(self, features, state=None, training=False):
        tokens = self.begun(features["inputs"])
        # Nothing looks ahead: what lies before padding does not see it.
        inputs = {"token_ids": tokens, "padding_mask": ops.ones_like(tokens)}
        return self.backbone(inputs, training=training), state

    def begun(self, tokens):
        tokens = ops.convert_to_tensor(tokens)
        return ops.where(tokens == 0, self.begin_token, tokens) if self.begin_token else tokens

    def logits(self, hidden):
        return self.backbone.token_embedding(hidden, reverse=True)

    def start(self, batch_size, max_length, features=None):
        padding = (features or {}).get("padding")
        return {
            "index": ops.zeros((batch_size,), "int32"),
            "padding": ops.zeros((batch_size,), "int32") if padding is None else padding,
            "caches": self.empty_caches(batch_size, max_length),
        }

    def empty_caches(self, batch_size, max_length):
        """Keys and values of all layers in one, or each on its own, as KerasHub has them."""
        num_layers, (_, heads, head_width) = self.backbone.num_layers, self.head_shape
        count, parts = (2 * num_layers, 1) if self.caches_apart else (1, 2 * num_layers)
        shape = (batch_size, parts, max_length, heads * head_width)
        return [ops.zeros(shape, self.causal_lm.compute_dtype) for _ in range(count)]

    def read(self, tokens, state):
        index, padding, caches = state["index"], state["padding"], state["caches"]
        rows, length = ops.shape(tokens)
        if caches[0].shape[2] == 0:
            caches = self.empty_caches(rows, length)
        # A row's first token has its first slot. Padding among these tokens goes behind them, into
        # slots that the next tokens overwrite.
        skipped = ops.clip(padding - index, 0, length)
        slots = ops.maximum(index - padding, 0)
        hidden, caches = self.read_at(self.begun(rolled(tokens, skipped)), caches, slots)
        return rolled(hidden, -skipped), {**state, "index": index + length, "caches": caches}

    def read_at(self, tokens, caches, slots):
        """([B, t, width], new caches) of tokens [B, t] that get slots from `slots` [B] on."""
        if tokens.shape[0] == 1:
            return self.read_together(tokens, caches, slots[0])

        # KerasHub's layers write all rows at one slot: the rows at each have their turn.
        def step(left, hidden, caches):
            slot = ops.min(ops.where(left, slots, ops.max(slots)))
            here = ops.logical_and(left, slots == slot)
            found, written = self.read_together(tokens, caches, slot)

            def kept(new, old):
                return ops.where(ops.reshape(here, (-1,) + (1,) * (len(new.shape) - 1)), new, old)

            left = ops.logical_and(left, ops.logical_not(here))
            return left, kept(found, hidden), [*map(kept, written, caches)]

        shape = (*ops.shape(tokens), self.backbone.hidden_dim)
        begin = slots >= 0, ops.zeros(shape, self.causal_lm.compute_dtype), caches
        _, hidden, caches = ops.while_loop(lambda left, *_: ops.any(left), step, begin)
        return hidden, caches

    def read_together(self, tokens, caches, slot):
        """`read_at` of rows that are all at one slot."""
        rows, _, max_length, _ = ops.shape(caches[0])
        heads = max_length, *self.head_shape[1:]
        if self.caches_apart:
            apart = [ops.reshape(cache, (rows, *heads)) for cache in caches]
            given = tuple(zip(apart[::2], apart[1::2], strict=True))
        else:
            given = ops.reshape(caches[0], (rows, self.backbone.num_layers, 2, *heads))
        _, hidden, new = self.causal_lm.call_with_cache(tokens, given, slot)
        new = [
            ops.reshape(part, ops.shape(cache))
            for part, cache in zip(keras.tree.flatten(new), caches, strict=True)
        ]
        return hidden, new

    def matmul_flops_per_token(self, sequence_length, source_length=0, predicted=1.0):
        """All experts' products included, which KerasHub works out whichever are chosen."""
        num_heads, _, head_width = self.head_shape
        attention = 4 * self.backbone.num_layers * num_heads * head_width * sequence_length
        softmax = predicted * 2 * self.backbone.hidden_dim * self.vocabulary_size
        matrices = (w for w in self.weights if len(w.shape) > 1 and "embedding" not in w.path)
        return sum(2 * math.prod(w.shape) for w in matrices) + softmax + attention


def head_shape(backbone):
    """(heads of queries, heads of keys and values, width of a head), whatever their names."""
    names = ("num_query_heads", "num_attention_heads", "num_heads")
    queries = next(getattr(backbone, name) for name in names if hasattr(backbone, name))
    keys = getattr(backbone, "num_key_value_heads", queries)
    width = getattr(backbone, "head_dim", None) or backbone.hidden_dim // queries
    return queries, keys, width


def rolled(x, count):
    """[B, t, ...] with each row's first `count` [B] of t moved to its end, or back if negative."""
    if x.shape[1] == 1:
        return x
    length = ops.shape(x)[1]
    places = ops.mod(ops.arange(length)[None] + count[:, None], length)
    return ops.take_along_axis(x, places if len(x.shape) == 2 else places[:, :, None], axis=1)
