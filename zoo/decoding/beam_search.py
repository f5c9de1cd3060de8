"""Beam search: the likeliest whole texts that a beam of prefixes finds."""

from keras import ops

from zoo.decoding import loop
from zoo.decoding.loop import EOS

NEVER = -1e30  # the score of a beam that is not there


def search(
    model,
    prompts,
    limits,
    buffer,
    beams,
    length_penalty=1.0,
    early_stopping=False,
    exhaustive=False,
    features=None,
):
    """The best of the texts that end, by log-probability / length ** length_penalty.

    Args:
      model: a LanguageModel.
      prompts, limits, buffer, features: see `loop.begin`, of N prompts and C places.
      beams: [W], of which only the length matters.
      length_penalty: float32 (Wu et al. 2016, section 7, without their constant).
      early_stopping: bool; a prompt is done once W texts have ended. Otherwise it goes on until
        no prefix at hand is better than the worst of these, were it to end now.
      exhaustive: bool; it goes on until no prefix can come to be better, however long.

    Returns:
      dict, the best first:
        tokens: int32 [N, W, C], the ending token included, 0 behind it.
        scores: float32 [N, W]; NEVER where fewer than W texts were found.
        log_probabilities: float32 [N, W].
        lengths: int32 [N, W].
    """
    rows, capacity = ops.shape(buffer)
    width = ops.shape(beams)[0]
    vocabulary_size = model.vocabulary_size
    logits, state = loop.repeat(loop.read(model, prompts, capacity, features), width)
    none = ops.zeros((rows, width), "float32") + NEVER
    empty = ops.broadcast_to(buffer[:, None], (rows, width, capacity))
    first = ops.arange(width) == 0  # all beams are the same prefix: one counts
    begun = {
        "step": ops.zeros((), "int32"),
        "state": state,
        "last": ops.repeat(prompts[:, -1], width),
        "tokens": empty,
        "sums": ops.where(first[None], 0.0, none),
        "found": {
            "tokens": empty,
            "scores": none,
            "log_probabilities": none,
            "lengths": ops.zeros((rows, width), "int32"),
        },
        "done": limits <= 0,
    }

    def going(carry):
        return ops.logical_not(ops.all(carry["done"]))

    def step(carry):
        logits, state = model.extend(carry["last"][:, None], carry["state"])
        return grown({**carry, "state": state}, logits[:, 0])

    def grown(carry, logits):
        length = carry["step"] + 1
        gained = ops.reshape(ops.log_softmax(logits), (rows, width, vocabulary_size))
        sums = ops.reshape(carry["sums"][..., None] + gained, (rows, width * vocabulary_size))
        # Among twice the width at least the width do not end.
        sums, place = ops.top_k(sums, likeliest_count(width, vocabulary_size))
        beam, token = place // vocabulary_size, place % vocabulary_size
        beam, token = ops.cast(beam, "int32"), ops.cast(token, "int32")
        tokens = ops.take_along_axis(carry["tokens"], beam[..., None], axis=1)
        here = ops.arange(capacity) == carry["step"]
        tokens = ops.where(here, token[..., None], tokens)

        ends = ops.logical_or(token == EOS, (length >= limits)[:, None])
        ends = ops.logical_and(ends, ops.logical_not(carry["done"])[:, None])
        ended = ops.logical_and(ends, sums > NEVER / 2)
        norm = ops.cast(length, "float32") ** length_penalty
        found = best(
            carry["found"],
            {
                "tokens": tokens,
                "scores": ops.where(ended, sums / norm, NEVER),
                "log_probabilities": sums,
                "lengths": ops.zeros_like(token) + length,
            },
            width,
        )
        running, kept = ops.top_k(ops.where(token == EOS, NEVER, sums), width)
        tokens = ops.take_along_axis(tokens, kept[..., None], axis=1)
        parents = ops.take_along_axis(beam, kept, axis=1) + width * ops.arange(rows)[:, None]

        worst = found["scores"][:, -1]
        longest = ops.cast(ops.where(exhaustive, limits, length), "float32")
        reachable = running[:, 0] / ops.maximum(longest**length_penalty, norm)
        enough = ops.logical_or(early_stopping, reachable <= worst)
        over = ops.logical_and(worst > NEVER / 2, enough)
        over = ops.logical_or(over, length >= limits)
        return {
            "step": length,
            "state": model.reorder(carry["state"], ops.reshape(parents, (-1,))),
            "last": ops.reshape(ops.take_along_axis(token, kept, axis=1), (-1,)),
            "tokens": tokens,
            "sums": running,
            "found": found,
            "done": ops.logical_or(carry["done"], over),
        }

    return ops.while_loop(going, step, grown(begun, logits))["found"]


def best(found, more, width):
    """The `width` of highest score of both, dicts of [N, ...] with `scores` [N, W]."""
    both = {name: ops.concatenate([found[name], more[name]], axis=1) for name in found}
    scores, place = ops.top_k(both["scores"], width)

    def chosen(values):
        index = ops.reshape(place, (*ops.shape(place), *(1 for _ in values.shape[2:])))
        return ops.take_along_axis(values, index, axis=1)

    return {name: chosen(values) for name, values in both.items()} | {"scores": scores}


def likeliest_count(width, vocabulary_size):
    return ops.minimum(2 * width, width * vocabulary_size)
