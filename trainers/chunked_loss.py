"""The loss and its gradients a few tokens at a time: never all the logits of a batch at once, and
none of tokens that count for nothing, as prompts and padding do."""

import functools
import math

import tensorflow as tf

from zoo.layers.fusion import fuse
from zoo.model import finished, unfinished

# Logits in one chunk, 128 MiB of float32. Each chunk adds to the gradient of the whole softmax
# matrix: at V 50,000 half as many took 7 % of a step, these 3 %, and twice as many no less, by
# one run each (docs/benchmarks.md, "Memory").
MOST_LOGITS = 2**25

SPARSE = 0.6  # share of the tokens that count, up to which these are sought out
MARGIN = 1.25  # what a chunk then has room for, times as many as that: most batches fit one


def loss_and_gradients(model, objective, features, state, scale=1.0, share=1.0):
    """The summed loss of a batch and its gradients, the logits a chunk of tokens at a time.

    Each chunk's logits are made, differentiated and forgotten before the next chunk's, so that
    nothing is computed twice; what reaches the hidden vectors goes on through the model at once.
    Only an objective that weighs tokens by their log-probabilities has the logits made once more.

    Args:
      model: a LanguageModel.
      objective: see losses.Objective.
      features: int32 [B, T], see LanguageModel; with `targets` and float32 `weights`.
      state: a nest of [B, ...], what a recurrent model carries.
      scale: scalar that multiplies the objective, and so the gradients, as float16 needs.
      share: of the tokens, how many have a weight as a rule; see `over_chunks`.

    Returns:
      (sums, gradients, new state): float32 scalars, the loss, what it is to be divided by, and the
      objective's `measures`, without `scale`; the gradient of each of the model's trainable
      variables, with it, as dense tensors.
    """
    variables = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as body:
        hidden, state = model.hidden(features, state=state, training=True)
    counted = features["weights"] != 0
    score = functools.partial(log_probabilities, model, hidden, features["targets"], counted, share)
    weights, measured = objective.weigh(features, score)

    def differentiate(hidden, targets, weights):
        with tf.GradientTape() as head:
            head.watch(hidden)
            *parts, soft_cap = unfinished(model, hidden)
            parts = [tf.convert_to_tensor(part) for part in parts if part is not None]
        settings = {"objective": objective, "soft_cap": soft_cap}
        nll, *slopes = fuse(nll_and_slopes, targets, weights, scale, *parts, **settings)
        of_hidden, *gradients = head.gradient(parts, [hidden, *variables], slopes)
        reached = {i: dense(g) for i, g in enumerate(gradients) if g is not None}
        return {"nll": nll, "gradients": reached}, of_hidden

    sums, of_hidden = over_chunks(
        differentiate, model, hidden, features["targets"], weights, counted=counted, share=share
    )
    of_hidden = tf.reshape(of_hidden, tf.shape(hidden))
    gradients = body.gradient(hidden, variables, output_gradients=of_hidden)
    for i, gradient in sums["gradients"].items():
        through_hidden = gradients[i]
        gradients[i] = gradient if through_hidden is None else gradient + dense(through_hidden)
    gradients = [
        tf.zeros(variable.shape, variable.dtype) if gradient is None else dense(gradient)
        for gradient, variable in zip(gradients, variables, strict=True)
    ]
    if measured is None:
        measured = [sums["nll"], tf.reduce_sum(weights)]
    return measured, gradients, state


def nll_and_slopes(targets, weights, scale, *parts, objective, soft_cap):
    """The summed loss of tokens, and the gradient of each part of their logits.

    In one, for what would be kept or computed anew for the gradients is as large as the logits.

    Args:
      targets, weights, scale, objective: see `loss_and_gradients`.
      parts, soft_cap: of `zoo.model.unfinished`.
    """
    with tf.GradientTape() as tape:
        tape.watch(parts)
        value, nll = objective(finished(*parts, soft_cap=soft_cap), targets, weights)
        value *= scale
    return nll, *tape.gradient(value, parts)


def log_probabilities(model, hidden, targets, counted=None, share=1.0):
    """Of target tokens, the logits a chunk of tokens at a time.

    Args:
      model: a LanguageModel.
      hidden: [B, T, D], of `model.hidden`.
      targets: int32 [B, T].
      counted, share: see `over_chunks`.

    Returns:
      float32 [B, T].
    """

    def score(hidden, targets):
        logits = model.logits(hidden)
        return (), -tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)

    _, found = over_chunks(score, model, hidden, targets, counted=counted, share=share)
    return tf.reshape(found, tf.shape(targets))


def over_chunks(function, model, hidden, *of_tokens, counted=None, share=1.0):
    """Calls `function` on as many tokens at a time as have MOST_LOGITS logits.

    Args:
      function: of hidden vectors [n, D] and as many entries of each of `of_tokens`, [n], to
        (a nest of tensors to be summed, a tensor [n, ...]).
      model: a LanguageModel.
      hidden: [B, T, D], of `model.hidden`.
      of_tokens: [B, T]. Where the last chunk is not full they are 0, as `hidden` is.
      counted: bool [B, T], False for tokens whose results nobody reads; None where all are read.
      share: of the tokens, how many are counted as a rule. If few are, chunks hold about as many, and
        `function` sees the counted ones one after another, then zeros; where one chunk holds all
        tokens, it may see them all, as they lie.

    Returns:
      (the sums over all chunks, [B * T, ...]); 0 for what `function` did not see.
    """
    rows = [tf.reshape(hidden, (-1, hidden.shape[-1])), *(tf.reshape(x, [-1]) for x in of_tokens)]
    count = rows[0].shape[0] or tf.shape(rows[0])[0]
    most = max(MOST_LOGITS // model.vocabulary_size, 1)
    sparse = counted is not None and share <= SPARSE
    if sparse:
        percent = math.ceil(100 * MARGIN * share)
        smaller = tf.minimum if tf.is_tensor(count) else min
        most = smaller(most, count * percent // 100 + 1)
    chunks = -(-count // most)
    if tf.is_tensor(chunks):
        chunks = tf.maximum(chunks, 1)  # of no token, perhaps
    elif chunks == 1:
        return function(*rows)
    size = most if sparse else -(-count // chunks)  # chunks of one size, with little padding
    worthwhile = chunks
    if sparse:
        counted = tf.reshape(counted, [-1])
        order, place = gathered_first(counted, chunks * size)
        rows = [tf.gather(behind(x, 1), order) for x in rows]
        worthwhile = -(-tf.math.count_nonzero(counted, dtype="int32") // size)
    else:
        rows = [behind(x, chunks * size - count) for x in rows]
    rows = [tf.reshape(x, tf.concat([[chunks, size], tf.shape(x)[1:]], 0)) for x in rows]
    # The first chunk stands before the loop: it says which sums there are.
    sums, result = function(*(x[0] for x in rows))
    results = tf.TensorArray(result.dtype, chunks, element_shape=result.shape).write(0, result)

    def add(i, sums, results):
        more, result = function(*(x[i] for x in rows))
        return i + 1, tf.nest.map_structure(tf.add, sums, more), results.write(i, result)

    # Chunks do not wait for each other's logits but by this: two at once would be twice as many.
    with tf.control_dependencies([result]):
        second = tf.constant(1)
    done, sums, results = tf.while_loop(
        lambda i, *_: i < worthwhile, add, (second, sums, results), parallel_iterations=1
    )
    if not sparse:
        return sums, results.concat()[:count]
    _, results = tf.while_loop(
        lambda i, _: i < chunks,
        lambda i, results: (i + 1, results.write(i, tf.zeros_like(result))),
        (done, results),
    )
    return sums, tf.gather(behind(results.concat(), 1), place)


def gathered_first(counted, slots):
    """Where tokens go, that those counted may come first and one after another.

    Args:
      counted: bool [N].
      slots: M >= N.

    Returns:
      (order, place): int32 [M], the token in each slot, N where there is none; and int32 [N], the
      slot of each token, M where it has none.
    """
    count = tf.size(counted)
    place = tf.where(counted, tf.cumsum(tf.cast(counted, "int32")) - 1, slots)
    order = tf.fill([slots + 1], count)  # those without a slot share one more
    order = tf.tensor_scatter_nd_update(order, place[:, None], tf.range(count))
    return order[:-1], place


def behind(x, count):
    """[N, ...] -> [N + count, ...], zeros behind."""
    return tf.pad(x, [[0, count]] + [[0, 0]] * (len(x.shape) - 1))


def dense(gradient):
    """A table's gradient comes as the rows that were looked up."""
    return tf.convert_to_tensor(gradient)
