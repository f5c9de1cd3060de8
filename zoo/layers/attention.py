"""Attention: the one formula, its masks, and the layers that project into and out of it."""

import keras
from keras import ops

from zoo.layers.feed_forward import dense
from zoo.layers.norms import norm
from zoo.layers.positions import rotate

FORBIDDEN = -1e30  # finite, so that a row without any True has no NaN in its gradient


def attend(queries, keys, values, mask, bias=None):
    """Scaled dot-product attention, softmax in float32 (Vaswani et al. 2017, eq. 1).

    Args:
      queries: [B, T, H, D].
      keys, values: [B, S, K, D]; K divides H (grouped-query attention when K < H).
      mask: [B or 1, 1, T, S] bool, True where attention is allowed. A row with no
        True gives zeros.
      bias: [B or 1, H, T, S], added to the scores; or None.

    Returns:
      [B, T, H, D], dtype of `queries`.
    """
    batch, length, num_heads, head_width = ops.shape(queries)
    num_kv_heads = ops.shape(keys)[2]
    # A group of query heads reads one key head: they become more rows of one product,
    # so that keys and values are never repeated.
    folded = (batch, num_kv_heads, num_heads // num_kv_heads * length, -1)
    unfolded = (batch, num_heads, length, -1)
    queries = ops.transpose(queries * head_width**-0.5, (0, 2, 1, 3))  # [B, H, T, D]
    keys = ops.transpose(keys, (0, 2, 3, 1))  # [B, K, D, S]
    values = ops.transpose(values, (0, 2, 1, 3))  # [B, K, S, D]
    scores = ops.reshape(ops.matmul(ops.reshape(queries, folded), keys), unfolded)
    scores = ops.cast(scores, "float32")  # [B, H, T, S]
    if bias is not None:
        scores = scores + ops.cast(bias, "float32")
    weights = ops.softmax(ops.where(mask, scores, FORBIDDEN), axis=-1)
    weights = ops.reshape(ops.cast(weights, values.dtype), folded)
    mixed = ops.reshape(ops.matmul(weights, values), unfolded)
    mixed = ops.transpose(mixed, (0, 2, 1, 3))  # [B, T, H, D]
    reachable = ops.transpose(ops.any(mask, axis=-1, keepdims=True), (0, 2, 1, 3))
    return ops.where(reachable, mixed, ops.zeros_like(mixed))


def causal_mask(segments, length, window=None):
    """Who may look at whom in a row: itself and earlier tokens of its own example.

    Args:
      segments: int32 [B, T], 0 for padding; or None when a row is one example.
      length: T.
      window: how many tokens back, itself included, may be seen; or None for all.

    Returns:
      bool [B or 1, 1, T, T].
    """
    places = ops.arange(length)
    distance = places[:, None] - places[None, :]
    mask = distance >= 0
    if window is not None:
        mask = ops.logical_and(mask, distance < window)
    mask = mask[None, None]
    if segments is None:
        return mask
    return ops.logical_and(mask, segment_mask(segments, segments))


def segment_mask(segments, key_segments):
    """bool [B, 1, T, S]: True where both are of one example, and no padding."""
    same = segments[:, :, None] == key_segments[:, None, :]
    return ops.logical_and(same, key_segments[:, None, :] > 0)[:, None]


def cache_mask(index, length, max_length, padding, window=None):
    """`causal_mask` for `length` new tokens written at slot `index` of a cache.

    Args:
      index: int32 scalar.
      max_length: slots S of the cache.
      padding: int32 [B], slots at the left of each row that hold no token.

    Returns:
      bool [B, 1, T, S].
    """
    slots = ops.arange(max_length)[None, :]
    distance = index + ops.arange(length)[:, None] - slots
    mask = distance >= 0
    if window is not None:
        mask = ops.logical_and(mask, distance < window)
    held = slots >= padding[:, None]  # [B, S]
    return ops.logical_and(mask[None, None], held[:, None, None])


class Attention(keras.layers.Layer):
    """Self-attention with an optional cache; one fused projection in, one out.

    Args:
      width: of input and output.
      num_heads, num_kv_heads: heads of queries, and of keys and values (Ainslie et al. 2023).
      head_width: width of one head.
      use_bias: adds biases to the projections.
      qk_norm: normalises queries and keys a head (Henry et al. 2020), without gain.
      output_scale: initial scale of the output projection.
    """

    def __init__(
        self, width, num_heads, num_kv_heads, head_width, use_bias, qk_norm, output_scale, **kwargs
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.head_width = head_width
        heads = num_heads + 2 * num_kv_heads
        self.qkv = dense(width, heads * head_width, use_bias, name="qkv")
        self.output_projection = dense(
            num_heads * head_width, width, use_bias, output_scale, name="output"
        )
        self.qk_norm = norm("rms_without_gain", head_width) if qk_norm else None
        self.built = True

    def call(self, x, mask, rotation=None, bias=None, cache=None, index=None):
        """[B, T, width] -> [B, T, width]; with a cache, (that, the cache with T slots more).

        Args:
          mask: bool [B or 1, 1, T, S], S = T or the cache's slots.
          rotation: from `positions.rotation`, or None.
          bias: [B or 1, H, T, S] or None.
          cache: {"keys", "values"}, each [B, S, K, D]; written from slot `index` on.
        """
        batch, length, _ = ops.shape(x)
        heads = (self.num_heads, self.num_kv_heads, self.num_kv_heads)
        qkv = ops.reshape(self.qkv(x), (batch, length, sum(heads), self.head_width))
        queries, keys, values = ops.split(qkv, [heads[0], heads[0] + heads[1]], axis=2)
        if self.qk_norm is not None:
            queries, keys = self.qk_norm(queries), self.qk_norm(keys)
        if rotation is not None:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        if cache is not None:
            keys = ops.slice_update(cache["keys"], (0, index, 0, 0), keys)
            values = ops.slice_update(cache["values"], (0, index, 0, 0), values)
        mixed = attend(queries, keys, values, mask, bias)
        output = self.output_projection(ops.reshape(mixed, (batch, length, -1)))
        return output if cache is None else (output, {"keys": keys, "values": values})

    def empty_cache(self, batch_size, max_length):
        shape = (batch_size, max_length, self.num_kv_heads, self.head_width)
        return {name: ops.zeros(shape, self.compute_dtype) for name in ("keys", "values")}


class CrossAttention(keras.layers.Layer):
    """Attention over another sequence, whose keys and values are projected once.

    Args: as `Attention`.
    """

    def __init__(self, width, num_heads, head_width, use_bias, output_scale, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_width = head_width
        self.query = dense(width, num_heads * head_width, use_bias, name="cross_query")
        self.key_value = dense(width, 2 * num_heads * head_width, use_bias, name="cross_key_value")
        self.output_projection = dense(
            num_heads * head_width, width, use_bias, output_scale, name="cross_output"
        )
        self.built = True

    def project(self, source):
        """[B, S, width] -> {"keys", "values"}, each [B, S, H, D]."""
        batch, length, _ = ops.shape(source)
        key_value = self.key_value(source)
        key_value = ops.reshape(key_value, (batch, length, 2 * self.num_heads, self.head_width))
        keys, values = ops.split(key_value, 2, axis=2)
        return {"keys": keys, "values": values}

    def call(self, x, source, mask):
        """[B, T, width], what `project` returned, bool [B, 1, T, S] -> [B, T, width]."""
        batch, length, _ = ops.shape(x)
        queries = ops.reshape(self.query(x), (batch, length, self.num_heads, self.head_width))
        mixed = attend(queries, source["keys"], source["values"], mask)
        return self.output_projection(ops.reshape(mixed, (batch, length, -1)))
