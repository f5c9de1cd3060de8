"""Batches as tf.data: a range of steps, a map, prefetch; one dataset for any strategy."""

import tensorflow as tf


def dataset(plan, start=0, stop=None, strategy=None, skipped=()):
    """The batches of steps `start` to `stop`.

    Element k of a worker's dataset is what its replica k % replicas takes in step
    start + k // replicas, so that the global batch is the same however it is divided.

    Args:
      plan: see batches.py.
      start, stop: steps; `stop` None for no end.
      strategy: tf.distribute.Strategy; None for the current one.
      skipped: ascending (first, last) of batches left out; later steps have those that follow.

    Returns:
      A dataset of feature dicts, distributed by `strategy`.

    Raises:
      ValueError: the batch cannot be divided equally among the replicas.
    """
    strategy = strategy or tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if plan.batch_size % replicas:
        raise ValueError(f"{plan.batch_size} rows cannot be shared by {replicas} replicas equally")
    names = list(plan.feature_shapes)
    dtypes = [dtype for dtype, _ in plan.feature_shapes.values()]

    def of_worker(context):
        here = replicas // context.num_input_pipelines
        first = here * context.input_pipeline_id

        def read(element):
            step, replica = divmod(int(element), here)
            features = plan.batch(batch_of(step, skipped), first + replica, replicas)
            return [features[name] for name in names]

        def with_shapes(element):
            features = dict(zip(names, tf.numpy_function(read, [element], dtypes), strict=True))
            for name, (_, shape) in plan.feature_shapes.items():
                features[name].set_shape([plan.batch_size // replicas, *shape])
            return features

        last = tf.int64.max if stop is None else stop * here
        elements = tf.data.Dataset.range(start * here, last)
        return elements.map(with_shapes).prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(of_worker)


def batch_of(step, skipped):
    """The batch that a step has: of the step's number, but for those left out before it."""
    for first, last in skipped:
        if step >= first:
            step += last - first + 1
    return step
