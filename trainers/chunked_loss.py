"""The loss and its gradients a few tokens at a time: never all the logits of a batch at once."""

import functools

import tensorflow as tf

# Logits in one chunk, 128 MiB of float32. Each chunk adds to the gradient of the whole softmax
# matrix: at V 50,000 half as many took 7 % of a step, these 3 %, and twice as many no less, by
# one run each (docs/benchmarks.md, "Memory").
MOST_LOGITS = 2**25


def loss_and_gradients(model, objective, features, state, scale=1.0):
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

    Returns:
      (sums, gradients, new state): float32 scalars, the loss, what it is to be divided by, and the
      objective's `measures`, without `scale`; the gradient of each of the model's trainable
      variables, with it, as dense tensors.
    """
    variables = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as body:
        hidden, state = model.hidden(features, state=state, training=True)
    score = functools.partial(log_probabilities, model, hidden, features["targets"])
    weights, measured = objective.weigh(features, score)

    def differentiate(hidden, targets, weights):
        with tf.GradientTape() as head:
            head.watch(hidden)
            value, nll = objective(model.logits(hidden), targets, weights)
            value *= scale
        of_hidden, *gradients = head.gradient(value, [hidden, *variables])
        reached = {i: dense(g) for i, g in enumerate(gradients) if g is not None}
        return {"nll": nll, "gradients": reached}, of_hidden

    sums, of_hidden = over_chunks(differentiate, model, hidden, features["targets"], weights)
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


def log_probabilities(model, hidden, targets):
    """Of target tokens, the logits a chunk of tokens at a time.

    Args:
      model: a LanguageModel.
      hidden: [B, T, D], of `model.hidden`.
      targets: int32 [B, T].

    Returns:
      float32 [B, T].
    """

    def score(hidden, targets):
        logits = model.logits(hidden)
        return (), -tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)

    _, found = over_chunks(score, model, hidden, targets)
    return tf.reshape(found, tf.shape(targets))


def over_chunks(function, model, hidden, *of_tokens):
    """Calls `function` on as many tokens at a time as have MOST_LOGITS logits.

    Args:
      function: of hidden vectors [n, D] and as many entries of each of `of_tokens`, [n], to
        (a nest of tensors to be summed, a tensor [n, ...]).
      model: a LanguageModel.
      hidden: [B, T, D], of `model.hidden`.
      of_tokens: [B, T]. Where the last chunk is not full they are 0, as `hidden` is.

    Returns:
      (the sums over all chunks, [B * T, ...]).
    """
    rows = [tf.reshape(hidden, (-1, hidden.shape[-1])), *(tf.reshape(x, [-1]) for x in of_tokens)]
    count = rows[0].shape[0] or tf.shape(rows[0])[0]
    most = max(MOST_LOGITS // model.vocabulary_size, 1)
    chunks = -(-count // most)
    if tf.is_tensor(chunks):
        chunks = tf.maximum(chunks, 1)  # of no token, perhaps
    elif chunks == 1:
        return function(*rows)
    size = -(-count // chunks)  # chunks of one size, with little padding

    def chunked(x):
        padding = [[0, chunks * size - count]] + [[0, 0]] * (len(x.shape) - 1)
        return tf.reshape(tf.pad(x, padding), tf.concat([[chunks, size], tf.shape(x)[1:]], 0))

    rows = [chunked(x) for x in rows]
    # The first chunk stands before the loop: it says which sums there are.
    sums, result = function(*(x[0] for x in rows))
    results = tf.TensorArray(result.dtype, chunks, element_shape=result.shape).write(0, result)

    def add(i, sums, results):
        more, result = function(*(x[i] for x in rows))
        return i + 1, tf.nest.map_structure(tf.add, sums, more), results.write(i, result)

    # Chunks do not wait for each other's logits but by this: two at once would be twice as many.
    _, sums, results = tf.while_loop(
        lambda i, *_: i < chunks, add, (1, sums, results), parallel_iterations=1
    )
    return sums, results.concat()[:count]


def dense(gradient):
    """A table's gradient comes as the rows that were looked up."""
    return tf.convert_to_tensor(gradient)
