"""How the next token is drawn. Every setting is a number a row: one program serves all requests."""

from keras import ops

FORBIDDEN = -1e30
DEFAULTS = {  # name -> (dtype, the value that changes nothing)
    "temperature": ("float32", 0.0),
    "top_k": ("int32", 0),
    "top_p": ("float32", 1.0),
    "min_p": ("float32", 0.0),
    "repetition_penalty": ("float32", 1.0),
    "presence_penalty": ("float32", 0.0),
    "frequency_penalty": ("float32", 0.0),
    "min_new_tokens": ("int32", 0),
    "seed": ("int32", 0),
}
BISECTIONS = 40  # of the range of a row's logits: what is left of it is less than their rounding


def settings(rows, **given):
    """Settings of `rows` rows, each [B].

    Args:
      rows: B.
      **given: a scalar or [B] each; what is left out changes nothing.
        temperature: float32 the logits are divided by; 0 for the likeliest token.
        top_k: int32, draws among so many likeliest tokens only; 0 for all.
        top_p: float32, draws among the fewest likeliest tokens that together have this
          probability (Holtzman et al. 2020); 1 for all.
        min_p: float32, draws among tokens of at least this part of the likeliest one's
          probability (Nguyen et al. 2024); 0 for all.
        repetition_penalty: float32 that logits of tokens in prompt and answer are divided by
          where positive, multiplied by where negative (Keskar et al. 2019, section 4.1).
        presence_penalty, frequency_penalty: float32, taken from the logit of a token that the
          answer has, once and for each time, as in OpenAI's API.
        min_new_tokens: int32, tokens before which the end is not drawn.
        seed: int32; the same seed, logits and number of tokens drawn give the same token,
          whatever other rows there are.

    Returns:
      dict of [B].
    """
    return {
        name: ops.broadcast_to(
            ops.cast(ops.convert_to_tensor(given.get(name, value)), dtype), (rows,)
        )
        for name, (dtype, value) in DEFAULTS.items()
    }


def sample(logits, settings, count, answered, prompted, end=0):
    """Draws a token for each row.

    Penalties come first, then temperature, top-k, top-p and min-p, each of what the one
    before has left, as in Hugging Face Transformers.

    Args:
      logits: float32 [B, V].
      settings: of `settings`.
      count: int32 [B], tokens drawn so far.
      answered: int32 [B, V], how often each token was drawn.
      prompted: bool [B, V], which tokens the prompt has.
      end: the token that ends a text.

    Returns:
      int32 [B].
    """
    logits = penalised(logits, settings, answered, prompted)
    early = ops.arange(logits.shape[-1]) == end
    early = ops.logical_and(early, (count < settings["min_new_tokens"])[:, None])
    logits = ops.where(early, FORBIDDEN, logits)
    sampled = settings["temperature"] > 0
    likeliest = greedy(logits)

    def draw():
        temperature = ops.where(sampled, settings["temperature"], 1.0)[:, None]
        noise = gumbel(settings["seed"], count, logits.shape[-1])
        drawn = greedy(filtered(logits / temperature, settings) + noise)
        return ops.where(sampled, drawn, likeliest)

    return ops.cond(ops.any(sampled), draw, lambda: likeliest)


def greedy(logits):
    """The likeliest token of each row, the first among equals."""
    return ops.cast(ops.argmax(logits, axis=-1), "int32")


def penalised(logits, settings, answered, prompted):
    """Logits with the three penalties."""
    neutral = {name: DEFAULTS[name][1] for name in DEFAULTS if name.endswith("penalty")}
    used = ops.any(ops.stack([ops.any(settings[name] != neutral[name]) for name in neutral]))

    def apply():
        repetition, presence, frequency = (settings[name][:, None] for name in neutral)
        present = answered > 0
        repeated = ops.where(logits > 0, logits / repetition, logits * repetition)
        changed = ops.where(ops.logical_or(present, prompted), repeated, logits)
        changed = changed - presence * ops.cast(present, "float32")
        return changed - frequency * ops.cast(answered, "float32")

    return ops.cond(used, apply, lambda: logits)


def filtered(logits, settings):
    """Logits with those that top-k, top-p and min-p exclude made FORBIDDEN.

    Tokens as likely as the last that is kept are kept as well.
    """
    top_k, top_p, min_p = (settings[name][:, None] for name in ("top_k", "top_p", "min_p"))

    def by_top_k():
        def enough(kept):
            return ops.sum(ops.cast(kept, "int32"), -1, keepdims=True) >= top_k

        kept = ops.logical_or(top_k <= 0, logits >= least(logits, enough))
        return ops.where(kept, logits, FORBIDDEN)

    def by_top_p():
        probabilities = ops.softmax(logits)

        def enough(kept):
            return ops.sum(ops.where(kept, probabilities, 0.0), -1, keepdims=True) >= top_p

        # At 1 rounding must not strike the tail.
        kept = ops.logical_or(top_p >= 1.0, logits >= least(logits, enough))
        return ops.where(kept, logits, FORBIDDEN)

    logits = ops.cond(ops.any(top_k > 0), by_top_k, lambda: logits)
    logits = ops.cond(ops.any(top_p < 1.0), by_top_p, lambda: logits)
    return ops.where(
        logits >= ops.max(logits, -1, keepdims=True) + ops.log(min_p), logits, FORBIDDEN
    )


def least(logits, enough):
    """The greatest bound for which the logits that reach it are `enough`, by bisection.

    No sorting: a vocabulary is passed over BISECTIONS times, whatever is asked of it, and
    that is several times as fast on CPUs, and no slower elsewhere.

    Args:
      logits: [B, V].
      enough: function of bool [B, V], which logits are kept, to bool [B, 1].

    Returns:
      float32 [B, 1]; the least logit where all of them are not enough.
    """
    # Everything FORBIDDEN is left out, for a range that long could not be halved often enough.
    high = ops.max(logits, -1, keepdims=True)
    allowed = logits > FORBIDDEN / 2
    low = ops.min(ops.where(allowed, logits, high), -1, keepdims=True)
    low = ops.where(enough(logits >= high), high, low)

    def halve(_, bounds):
        low, high = bounds
        middle = low + (high - low) / 2
        reached = enough(logits >= middle)
        return ops.where(reached, middle, low), ops.where(reached, high, middle)

    return ops.fori_loop(0, BISECTIONS, halve, (low, high))[0]


def gumbel(seed, count, size):
    """Standard Gumbel noise: the likeliest of logits plus noise is a draw from their softmax.

    Args:
      seed, count: int32 [B], which the row's noise is a function of.
      size: V.

    Returns:
      float32 [B, V].
    """
    token = unsigned(ops.arange(size))  # XLA has no range of uint32
    bits = mixed(mixed(mixed(unsigned(seed)) + unsigned(count))[:, None] + token[None])
    # A half more keeps both logarithms finite; with it 23 bits fill a float32, and one more would
    # be rounded to 1 where all are set: infinite noise, which draws even what is FORBIDDEN.
    uniform = (ops.cast(shifted(bits, 9), "float32") + 0.5) * 2.0**-23
    return -ops.log(-ops.log(uniform))


def unsigned(x):
    return ops.cast(x, "uint32")


def shifted(bits, places):
    return ops.right_shift(bits, ops.cast(places, "uint32"))


def mixed(bits):
    """A bijection of uint32 in which every bit depends on all (Appleby's MurmurHash3, fmix32)."""
    bits = unsigned(bits) + ops.convert_to_tensor(0x9E3779B9, "uint32")  # so that 0 moves
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        bits = ops.bitwise_xor(bits, shifted(bits, shift))
        bits = bits * ops.convert_to_tensor(factor, "uint32")
    return bits
