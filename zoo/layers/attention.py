"""Attention: the one formula, its masks, and the layers that project into and out of it."""

import itertools

import keras
from keras import ops

from zoo.layers.dense import dense
from zoo.layers.fusion import fuse
from zoo.layers.norms import EPSILON, norm
from zoo.layers.positions import rotate

FORBIDDEN = -1e30  # finite, so that a row without any True has no NaN in its gradient


def attend(queries, keys, values, mask, bias=None, scale=None):
    """Scaled dot-product attention, softmax in float32 (Vaswani et al. 2017, eq. 1).

    Keys and values come in parts, so that what is new need not be put beside what is cached.

    Args:
      queries: [B, T, H, D].
      keys, values: lists of [B, K, S_i, D], together of S slots; K divides H (grouped-query
        attention when K < H).
      mask: [B or 1, 1, T, S] bool, True where attention is allowed. A row with no
        True gives zeros.
      bias: [B or 1, H, T, S], added to the scores; or None.
      scale: that multiplies the scores; None for D ** -0.5.

    Returns:
      [B, T, H, D], dtype of `queries`.
    """
    batch, length, num_heads, head_width = ops.shape(queries)
    num_kv_heads = ops.shape(keys[0])[1]
    # A group of query heads reads one key head: they become more rows of one product,
    # so that keys and values are never repeated.
    folded = (batch, num_kv_heads, num_heads // num_kv_heads * length, -1)
    unfolded = (batch, num_heads, length, -1)
    scale = head_width**-0.5 if scale is None else scale
    queries = ops.reshape(heads_first(queries * scale), folded)
    # Not `matmul` with a transpose, which XLA would carry out at every step of decoding.
    scores = [ops.einsum("...td,...sd->...ts", queries, part) for part in keys]
    scores = ops.reshape(joined(scores), unfolded)  # [B, H, T, S]
    weights = fuse(masked_softmax, scores, mask, bias)
    weights = ops.reshape(ops.cast(weights, values[0].dtype), folded)
    mixed = 0
    for part, shares in zip(values, parted(weights, values), strict=True):
        mixed = mixed + ops.matmul(shares, part)
    mixed = heads_first(ops.reshape(mixed, unfolded))  # [B, T, H, D]
    # Here and not of the weights, which would then be kept for the gradient twice.
    reachable = ops.transpose(ops.any(mask, axis=-1, keepdims=True), (0, 2, 1, 3))
    return ops.where(reachable, mixed, ops.zeros_like(mixed))


def masked_softmax(scores, mask, bias=None):
    """Softmax over the last axis of what `mask` allows, in float32; dtype of `scores`."""
    wide = ops.cast(scores, "float32")
    if bias is not None:
        wide = wide + ops.cast(bias, "float32")
    return ops.cast(ops.softmax(ops.where(mask, wide, FORBIDDEN), axis=-1), scores.dtype)


def joined(parts):
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def parted(weights, values):
    """The weights [..., S] of each part of the values [..., S_i, D]."""
    if len(values) == 1:
        return [weights]
    *ends, _ = itertools.accumulate(ops.shape(part)[2] for part in values)
    return [weights[..., first:end] for first, end in zip([0, *ends], [*ends, None], strict=True)]


def heads_first(x):
    """[B, S, K, D] -> [B, K, S, D] and back. A head's slots lie together, as products read them."""
    return ops.transpose(x, (0, 2, 1, 3))


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
    """`causal_mask` for `length` new tokens, which see a cache of `index` tokens and each other.

    Args:
      index: int32 [B].
      max_length: slots S of the cache.
      padding: int32 [B], slots at the left of each row that hold no token.

    Returns:
      bool [B, 1, T, S + T].
    """
    batch = ops.shape(index)[0]
    new = index[:, None] + ops.arange(length)[None]  # [B, T], the slots they will have
    slots = ops.broadcast_to(ops.arange(max_length)[None], (batch, max_length))
    held = ops.logical_and(slots >= padding[:, None], slots < index[:, None])
    held = ops.concatenate([held, new >= padding[:, None]], axis=1)
    distance = new[:, :, None] - ops.concatenate([slots, new], axis=1)[:, None]
    mask = ops.logical_and(held[:, None], distance >= 0)
    if window is not None:
        mask = ops.logical_and(mask, distance < window)
    return mask[:, None]


def extended(state, new, length, x):
    """A decoding state after `length` tokens whose keys and values `new` is, a pair a block.

    Caches without slots, of a state that has read nothing, become those of the new tokens.

    Args:
      x: [B, T, width], what all blocks have made of the tokens.
    """
    caches = new
    if state["caches"][0]["keys"].shape[2] != 0:
        caches = write(state["caches"], new, after(x, state["index"]))
    return {**state, "index": state["index"] + length, "caches": caches}


def slots_before(cache, index, count):
    """The last `count` slots that have been written: [B, K, S, D] -> [B, K, count, D].

    Args:
      index: int32 [B], slots that have been. Where they are fewer, slot 0 stands for those missing;
        where a row has ended and goes on with its batch, the last for those there are not.
    """
    slots = index[:, None] - ops.arange(count, 0, -1)[None]
    slots = ops.clip(slots, 0, ops.shape(cache)[2] - 1)
    return ops.take_along_axis(cache, slots[:, None, :, None], axis=2)


def after(x, index):
    """The same `index` [B], as something that waits for `x` [B, T, width].

    XLA copies a cache before it is written unless whatever reads it surely comes earlier.
    """
    return index + ops.cast(ops.clip(x[:, 0, 0], 0.0, 0.0), "int32")


def write(caches, new, index):
    """Puts new keys and values into caches, in each row from the row's own slot on.

    Args:
      caches: nest of [B, K, S, D].
      new: the same nest of [B, K, T, D], T <= S.
      index: int32 [B]. What would stand behind the last slot is put into the last ones: a row
        that has ended may go on with its batch, and nothing reads what it writes.

    Returns:
      The new caches.
    """
    old, new = keras.tree.flatten(caches), keras.tree.flatten(new)

    # XLA does a slice of a loop's variable in place, and takes long over any other scatter. Without
    # XLA each slice copies its cache: one for all rows where they are at the same slot, as they
    # mostly are. Both are loops, for XLA would copy the caches for a choice between the two.
    def write_rows(_, arrays):
        return [
            ops.slice_update(array, (0, 0, index[0], 0), part)
            for array, part in zip(arrays, new, strict=True)
        ]

    def write_row(row, arrays):
        starts = (row, 0, index[row], 0)
        return [
            ops.slice_update(array, starts, ops.expand_dims(part[row], 0))
            for array, part in zip(arrays, new, strict=True)
        ]

    # One row needs no loop, and LiteRT could not lend its buffers to the results of one.
    if index.shape[0] == 1:
        written = write_rows(0, old)
    else:
        together = ops.all(index == index[0])
        written = ops.fori_loop(0, ops.where(together, 1, 0), write_rows, old)
        alone = ops.where(together, 0, ops.shape(index)[0])
        written = ops.fori_loop(0, alone, write_row, written)
    return keras.tree.pack_sequence_as(caches, written)


class Attention(keras.layers.Layer):
    """Self-attention with an optional cache; one fused projection in, one out.

    Args:
      width: of input and output.
      num_heads, num_kv_heads: heads of queries, and of keys and values (Ainslie et al. 2023).
      head_width: width of one head.
      use_bias: adds biases to the projections; "qkv" for those into the heads alone.
      qk_norm: normalises queries and keys a head (Henry et al. 2020), without gain; "rms" for one
        with gain.
      output_scale: initial scale of the output projection.
      norm_epsilon: see `norms.norm`.
      scale: see `attend`.
    """

    def __init__(
        self,
        width,
        num_heads,
        num_kv_heads,
        head_width,
        use_bias,
        qk_norm,
        output_scale,
        norm_epsilon=EPSILON,
        scale=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.head_width = head_width
        self.scale = scale
        heads = num_heads + 2 * num_kv_heads
        self.qkv = dense(width, heads * head_width, bool(use_bias), name="qkv")
        self.output_projection = dense(
            num_heads * head_width, width, use_bias is True, output_scale, name="output"
        )
        self.query_norm = self.key_norm = None
        if qk_norm:
            kind = "rms_without_gain" if qk_norm is True else qk_norm
            self.query_norm, self.key_norm = (
                norm(kind, head_width, name, norm_epsilon) for name in ("query_norm", "key_norm")
            )
        self.built = True

    def call(self, x, mask, rotation=None, bias=None, cache=None):
        """[B, T, width] -> [B, T, width]; with a cache, (that, what is to be written into it).

        Args:
          mask: bool [B or 1, 1, T, S], S = T and the cache's slots before them.
          rotation: from `positions.rotation`, or None.
          bias: [B or 1, H, T, S] or None.
          cache: {"keys", "values"} of earlier tokens, each [B, K, S - T, D].
        """
        batch, length, _ = ops.shape(x)
        heads = (self.num_heads, self.num_kv_heads, self.num_kv_heads)
        qkv = ops.reshape(self.qkv(x), (batch, length, sum(heads), self.head_width))
        queries, keys, values = ops.split(qkv, [heads[0], heads[0] + heads[1]], axis=2)
        if self.query_norm is not None:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        if rotation is not None:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        new = {"keys": heads_first(keys), "values": heads_first(values)}
        parts = [new]
        if cache is not None and cache["keys"].shape[2] != 0:
            parts = [cache, new]
        keys, values = ([part[name] for part in parts] for name in ("keys", "values"))
        mixed = attend(queries, keys, values, mask, bias, self.scale)
        output = self.output_projection(ops.reshape(mixed, (batch, length, -1)))
        return output if cache is None else (output, new)

    def empty_cache(self, batch_size, max_length):
        shape = (batch_size, self.num_kv_heads, max_length, self.head_width)
        return {name: ops.zeros(shape, self.compute_dtype) for name in ("keys", "values")}


class CrossAttention(keras.layers.Layer):
    """Attention over another sequence, whose keys and values are projected once.

    Args: as `Attention`.
    """

    def __init__(self, width, num_heads, head_width, use_bias, output_scale, scale=None, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_width = head_width
        self.scale = scale
        self.query = dense(width, num_heads * head_width, use_bias, name="cross_query")
        self.key_value = dense(width, 2 * num_heads * head_width, use_bias, name="cross_key_value")
        self.output_projection = dense(
            num_heads * head_width, width, use_bias, output_scale, name="cross_output"
        )
        self.built = True

    def project(self, source):
        """[B, S, width] -> {"keys", "values"}, each [B, H, S, D]."""
        batch, length, _ = ops.shape(source)
        key_value = self.key_value(source)
        key_value = ops.reshape(key_value, (batch, length, 2 * self.num_heads, self.head_width))
        keys, values = ops.split(key_value, 2, axis=2)
        return {"keys": heads_first(keys), "values": heads_first(values)}

    def call(self, x, source, mask):
        """[B, T, width], what `project` returned, bool [B, 1, T, S] -> [B, T, width]."""
        batch, length, _ = ops.shape(x)
        queries = ops.reshape(self.query(x), (batch, length, self.num_heads, self.head_width))
        mixed = attend(queries, [source["keys"]], [source["values"]], mask, scale=self.scale)
        return self.output_projection(ops.reshape(mixed, (batch, length, -1)))
