"""The decoding loop: one token a step, for any model of the zoo, until every row has ended."""

import keras
from keras import ops

from zoo.decoding import samplers

EOS = 0
TOP = 20  # alternatives whose log-probabilities can be asked for, as many as OpenAI's API allows


def begin(model, prompts, limits, buffer, settings, features=None):
    """Reads the prompts.

    Args:
      model: a LanguageModel.
      prompts: int32 [B, P], left padded when unequal.
      limits: int32 [B], how many tokens may be drawn for each row.
      buffer: int32 [B, C] of zeros, C at least the largest limit: places for drawn tokens.
      settings: of `samplers.settings`, and `num_top` [B], how many alternatives are kept.
      features: `padding` [B] for unequal prompts; the source of a model that reads one.

    Returns:
      (carry, float32 logits [B, V] behind each prompt), for `first`. The carry is what the loop
      carries, a dict of nests of [B, ...]. For the caller of `first` and of `advance`:
        tokens: int32 [B, C], the tokens drawn and 0 behind them.
        count: int32 [B], how many, the ending token included.
        gained: float32 [B, C], their log-probabilities under the model's own distribution.
        top_tokens, top_gained: int32 and float32 [B, C, TOP], the likeliest tokens in each
          place, the likeliest first, where `num_top` asks for any.
        ended, finished: bool [B]; whether nothing more is drawn, and whether the end was.
    """
    rows, length = ops.shape(prompts)
    logits, state = read(model, prompts, ops.shape(buffer)[1], features)
    padding = (features or {}).get("padding")
    padding = ops.zeros_like(limits) if padding is None else padding
    held = ops.arange(length)[None] >= padding[:, None]
    top = min(TOP, model.vocabulary_size)
    unused = buffer[:, :, None] + ops.zeros((top,), "int32")
    carry = {
        "state": state,
        "last": prompts[:, -1],
        "tokens": buffer,
        "count": ops.zeros_like(limits),
        "gained": ops.cast(buffer, "float32"),
        "top_tokens": unused,
        "top_gained": ops.cast(unused, "float32"),
        "limits": limits,
        "ended": limits <= 0,
        "finished": ops.zeros_like(limits <= 0),
        "answered": ops.zeros((rows, model.vocabulary_size), "int32"),
        "prompted": occurring(prompts, held, model.vocabulary_size),
        "settings": settings,
    }
    return carry, logits


def read(model, prompts, capacity, features=None):
    """(logits [B, V] behind each prompt, the state with room for so many tokens more); see `begin`."""
    rows, length = ops.shape(prompts)
    hidden, state = model.read(prompts, model.start(rows, 0, features))
    return model.logits(hidden[:, -1]), model.with_room(state, length + capacity)


def occurring(tokens, held, vocabulary_size):
    """Which tokens stand in places that are held. int32 [B, T], bool [B, T] -> bool [B, V]."""
    rows = ops.broadcast_to(ops.arange(ops.shape(tokens)[0])[:, None], ops.shape(tokens))
    # The token that parts examples is no repetition, and stands in for padding.
    places = ops.stack([rows, ops.where(held, tokens, EOS)], axis=-1)
    found = ops.zeros((ops.shape(tokens)[0], vocabulary_size), "int32")
    ones = ops.ones_like(ops.reshape(tokens, (-1,)))
    found = ops.scatter_update(found, ops.reshape(places, (-1, 2)), ones)
    return ops.logical_and(found > 0, ops.arange(vocabulary_size) != EOS)


def repeat(begun, times):
    """`begin` of `times` rows of each prompt, for which it was read but once."""
    return keras.tree.map_structure(lambda leaf: ops.repeat(leaf, times, axis=0), begun)


def first(carry, logits):
    """Draws the first token behind each prompt; of what `begin` returns, the carry for `advance`."""
    return {**carry, **drawn(carry, logits, ops.logical_not(carry["ended"]))}


def advance(model, carry, max_steps=None):
    """Draws tokens until every row has ended: at `EOS` or at its limit.

    Args:
      model: as in `begin`.
      carry: from `first` or an earlier `advance`.
      max_steps: stops after so many tokens a row at the latest; None for no such bound.

    Returns:
      The new carry.
    """

    def step(carry):
        logits, state = model.extend(carry["last"][:, None], carry["state"])
        going = ops.logical_not(carry["ended"])
        return {**carry, "state": state, **drawn(carry, logits[:, 0], going)}

    return until_ended(step, carry, max_steps)


def until_ended(step, carry, max_steps=None):
    """Takes steps, functions of the carry, until every row has ended; see `advance`."""

    def going(carry):
        return ops.logical_not(ops.all(carry["ended"]))

    return ops.while_loop(going, step, carry, maximum_iterations=max_steps)


def drawn(carry, logits, going):
    """What the loop carries, but the state, after a token more in some rows.

    Args:
      logits: float32 [B, V], of which it is drawn.
      going: bool [B], the rows that get one; none of them has ended.
    """
    settings, count = carry["settings"], carry["count"]
    token = samplers.sample(logits, settings, count, carry["answered"], carry["prompted"], end=EOS)
    token = ops.where(going, token, carry["last"])
    log_probabilities = ops.log_softmax(logits)
    gained = ops.take_along_axis(log_probabilities, token[:, None], axis=-1)[:, 0]

    top = carry["top_tokens"].shape[2]

    def likeliest():
        values, tokens = ops.top_k(log_probabilities, top)
        return values, ops.cast(tokens, "int32")

    def none():
        return ops.zeros_like(logits[:, :top]), ops.zeros_like(carry["top_tokens"][:, 0])

    top_gained, top_tokens = ops.cond(ops.any(settings["num_top"] > 0), likeliest, none)
    place = ops.arange(ops.shape(carry["tokens"])[1]) == count[:, None]
    place = ops.logical_and(place, going[:, None])
    chosen = ops.arange(logits.shape[-1]) == token[:, None]
    chosen = ops.logical_and(chosen, going[:, None])
    finished = ops.logical_and(token == EOS, going)
    count = count + ops.cast(going, "int32")
    ended = ops.logical_or(finished, count >= carry["limits"])
    return {
        "last": token,
        "tokens": ops.where(place, token[:, None], carry["tokens"]),
        "count": count,
        "gained": ops.where(place, gained[:, None], carry["gained"]),
        "top_tokens": ops.where(place[..., None], top_tokens[:, None], carry["top_tokens"]),
        "top_gained": ops.where(place[..., None], top_gained[:, None], carry["top_gained"]),
        "ended": ops.logical_or(carry["ended"], ended),
        "finished": ops.logical_or(carry["finished"], finished),
        "answered": carry["answered"] + ops.cast(chosen, "int32"),
    }
