"""The decoding loop: one token a step, for any model of the zoo, until every row has ended."""

from keras import ops

EOS = 0


def begin(model, prompts, limits, capacity, features=None):
    """Reads the prompts, all but their last token.

    Args:
      model: a LanguageModel.
      prompts: int32 [B, P], left padded when unequal. P is 1, statically, or more than 1.
      limits: int32 [B], how many tokens may be drawn for each row.
      capacity: places for drawn tokens in a row, at least the largest limit.
      features: `padding` [B] for unequal prompts; the source of a model that reads one.

    Returns:
      What the loop carries, a dict for `advance`. For its caller: `tokens` int32
      [B, capacity], the tokens drawn and 0 behind them; `log_probabilities` float32 [B],
      their sum, the ending token's included; `ended` bool [B].
    """
    rows, length = ops.shape(prompts)
    if prompts.shape[1] == 1:
        state = model.start(rows, length + capacity, features)
    else:
        # These logits are never looked at, so a graph does not compute them.
        _, state = model.extend(prompts[:, :-1], model.start(rows, 0, features))
        state = model.with_room(state, length + capacity)
    return {
        "state": state,
        "last": prompts[:, -1],
        "tokens": ops.zeros((rows, capacity), "int32"),
        "log_probabilities": ops.zeros((rows,), "float32"),
        "count": ops.zeros((), "int32"),
        "limits": limits,
        "ended": limits <= 0,
    }


def advance(model, carry, sample, max_steps=None):
    """Draws tokens until every row has ended: at `EOS` or at its limit.

    Args:
      model: as in `begin`.
      carry: from `begin` or an earlier `advance`.
      sample: function of float32 logits [B, V] and the int32 number of tokens drawn
        so far, to int32 tokens [B].
      max_steps: stops after so many tokens a row at the latest; None for no such bound.

    Returns:
      The new carry.
    """

    def going(carry):
        return ops.logical_not(ops.all(carry["ended"]))

    def step(carry):
        logits, state = model.extend(carry["last"][:, None], carry["state"])
        logits, ended, count = logits[:, 0], carry["ended"], carry["count"]
        drawn = ops.where(ended, EOS, sample(logits, count))
        gained = ops.take_along_axis(ops.log_softmax(logits), drawn[:, None], axis=-1)[:, 0]
        finished = ops.logical_or(drawn == EOS, count + 1 >= carry["limits"])
        return {
            "state": state,
            "last": drawn,
            "tokens": ops.slice_update(carry["tokens"], (0, count), drawn[:, None]),
            "log_probabilities": carry["log_probabilities"] + ops.where(ended, 0.0, gained),
            "count": count + 1,
            "limits": carry["limits"],
            "ended": ops.logical_or(ended, finished),
        }

    return ops.while_loop(going, step, carry, maximum_iterations=max_steps)
