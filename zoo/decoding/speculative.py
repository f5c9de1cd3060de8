"""The decoding loop with a second, smaller model that drafts: several tokens a step, the same texts.

A draft proposes tokens, one after the other; the model reads all of them at once, and what it would
have drawn without them stands, up to the first proposal that is another token (Leviathan et al.
2023, Chen et al. 2023). Both draw by the same noise, that of `samplers.gumbel`, so that they often
agree although both draw at random (Daliri, Musco and Suresh 2024, drafter-invariant decoding):
proposals change how many tokens a step draws, and never which.
"""

import keras
from keras import ops

from zoo.decoding import loop

PROPOSALS = 4


def check(model, draft, proposals=PROPOSALS):
    """Raises ValueError where one model cannot draft for another."""
    if proposals < 1:
        raise ValueError(f"proposals {proposals} is not positive")
    if model.initial_state(1) != ():
        raise ValueError(
            f"{type(model).__name__} reads token by token whatever is drafted, and gains nothing by "
            "a draft; use it without one, or as the draft of a Transformer"
        )
    if draft.vocabulary_size != model.vocabulary_size:
        raise ValueError(
            f"the draft has a vocabulary of {draft.vocabulary_size} tokens, the model one of "
            f"{model.vocabulary_size}; train the draft with the model's tokenizer"
        )
    if draft.reads_source != model.reads_source:
        reads, needed = (
            "reads a source" if each.reads_source else "reads no source" for each in (draft, model)
        )
        raise ValueError(
            f"the draft, {type(draft).__name__}, {reads}, and the model, {type(model).__name__}, "
            f"{needed}; use a draft that {needed}"
        )


def begin(model, draft, prompts, limits, buffer, settings, features=None, proposals=PROPOSALS):
    """Both models read the prompts; see `loop.begin`.

    Args:
      model, draft: LanguageModels that fit together.
      proposals: int K, as in `advance`.

    Returns:
      What `loop.begin` does, and in the carry the `draft_state`.

    Raises:
      ValueError: the models do not fit together.
    """
    check(model, draft, proposals)
    carry, logits = loop.begin(model, prompts, limits, buffer, settings, features)
    # A step reads so many tokens behind the last that may be drawn.
    capacity = ops.shape(buffer)[1] + proposals
    _, draft_state = loop.read(draft, prompts, capacity, features)
    state = model.with_room(carry["state"], ops.shape(prompts)[1] + capacity)
    return {**carry, "state": state, "draft_state": draft_state}, logits


def advance(model, draft, carry, max_steps=None, proposals=PROPOSALS):
    """Draws the tokens that `loop.advance` would, in fewer steps.

    Args:
      model, draft: as in `begin`.
      carry: from `loop.first` or an earlier `advance`.
      max_steps: stops after so many steps of the model at the latest, in each of which a row gets
        1 to K + 1 tokens; None for no such bound.
      proposals: int K, tokens that the draft proposes in a step.

    Returns:
      The new carry.
    """

    def step(carry):
        tokens, draft_state, earlier = propose(draft, carry, proposals)
        logits, state = model.extend(tokens, carry["state"])
        before, carry = carry, {**carry, **drawn(carry, logits, tokens[:, 1:])}
        # Read are from now on as many as were drawn: the last token, and the proposals that stand.
        read = carry["count"] - before["count"]
        wrong = proposals + 1 - read
        state = {name: part - wrong if name == "index" else part for name, part in state.items()}
        earlier = keras.tree.map_structure(lambda parts: chosen(parts, read), earlier)
        return {**carry, "state": state, "draft_state": {**draft_state, **earlier}}

    return loop.until_ended(step, carry, max_steps)


def propose(draft, carry, proposals):
    """Draws by the draft what the model may draw.

    Returns:
      tokens: int32 [B, K + 1], the last token and K behind it.
      state: the draft's, all of these read.
      earlier: `passing` of its states after 0, 1, ... K + 1 of them, parts [B, K + 2, ...].
    """

    def now(carry, state):
        return {"tokens": carry["last"], "states": draft.passing(state)}

    def note(notes, place, carry, state):
        def put(parts, part):
            start = (0, place, *(0 for _ in part.shape[1:]))
            return ops.slice_update(parts, start, part[:, None])

        return keras.tree.map_structure(put, notes, now(carry, state))

    def draw(place, drafting):
        carry, state, notes = drafting
        logits, state = draft.extend(carry["last"][:, None], state)
        going = ops.logical_not(carry["ended"])
        carry = {**carry, **loop.drawn(carry, logits[:, 0], going)}
        return carry, state, note(notes, place + 1, carry, state)

    carry, state = without_states(carry), carry["draft_state"]
    notes = keras.tree.map_structure(
        lambda part: ops.repeat(part[:, None], proposals + 2, axis=1), now(carry, state)
    )
    carry, state, notes = ops.fori_loop(0, proposals, draw, (carry, state, notes))
    # The last proposal is read as well, for all of them may be right; nothing is drawn behind it.
    _, state = draft.extend(carry["last"][:, None], state)
    notes = note(notes, proposals + 1, carry, state)
    return notes["tokens"][:, : proposals + 1], state, notes["states"]


def chosen(parts, place):
    """[B, n, ...], int32 [B] -> [B, ...]"""
    place = ops.reshape(place, (-1, 1, *(1 for _ in parts.shape[2:])))
    return ops.take_along_axis(parts, place, axis=1)[:, 0]


def drawn(carry, logits, proposed):
    """What the loop carries, but the states, after 1 to K + 1 tokens more in rows that go on.

    Args:
      logits: float32 [B, K + 1, V], behind the last token and behind each of the proposals.
      proposed: int32 [B, K].
    """
    # Behind the last proposal stands what no token is.
    proposed = ops.pad(proposed, [[0, 0], [0, 1]], constant_values=-1)

    def going(place, right, carry):
        return ops.any(right)

    def draw(place, right, carry):
        carry = {**carry, **loop.drawn(carry, ops.take(logits, place, axis=1), right)}
        right = ops.logical_and(right, ops.take(proposed, place, axis=1) == carry["last"])
        right = ops.logical_and(right, ops.logical_not(carry["ended"]))
        return place + 1, right, carry

    first = (0, ops.logical_not(carry["ended"]), without_states(carry))
    return ops.while_loop(going, draw, first)[2]


def without_states(carry):
    return {name: part for name, part in carry.items() if name not in ("state", "draft_state")}
