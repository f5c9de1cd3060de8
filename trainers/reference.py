"""The reference model of preferences: what it makes of the pairs, worked out before training begins.

It is the model as it begins, so that its log-probabilities, two numbers a pair, are all that is kept
of it: training needs the memory of one model. They lie in the model_dir, where a run that goes on,
or is evaluated, finds them.
"""

import functools
import hashlib
import os

import numpy as np
import tensorflow as tf

from trainers import strategies
from trainers.data.pipeline import dataset
from trainers.errors import UserError
from trainers.preferences import answers_of


def keep(experiment, model, tokenizer, directory, strategy, xla):
    """Works out the reference of all splits for a new run, but for what is there already.

    Args:
      experiment: see experiment.py.
      model: a LanguageModel, with the weights that training begins with.
      tokenizer: see data/tokenizers.py.
      directory: the ModelDir.
      strategy: whose scope made the model; every worker must take part.
      xla: compile with XLA.
    """
    weights = fingerprint_of_weights(model)
    for split in experiment.task.splits:
        plan = experiment.make_plan(split, model, tokenizer, directory)
        path = path_of(plan, directory)
        known = is_of(path, weights)
        if strategies.all_agree(strategy, int(known)) and known:
            continue
        print(f"the reference model reads {plan.rows_per_epoch:,} pairs of the {split} split")
        found = log_probabilities(model, plan, strategy, xla)
        if strategies.is_chief(strategy):
            write(path, found, weights)
        strategies.wait_for_all(strategy)


def give(plan, directory):
    """Sets the `reference` of a plan of data/pair_batches.py to what a run has kept.

    Raises:
      UserError: it has none of these pairs.
    """
    path = path_of(plan, directory)
    if not os.path.exists(path):
        raise UserError(
            f"{path}: is not there; the reference model reads the pairs of all splits when training "
            "begins. Put back files, tokenizer and lengths as they were then, or begin a new "
            "--model_dir"
        )
    with np.load(path) as file:
        plan.reference = file["log_probabilities"]


def log_probabilities(model, plan, strategy, xla):
    """float32 [N, 2]: the log-probabilities of the pairs of a plan that is not for training."""
    share = plan.share_counted()
    of_replica = tf.function(
        lambda features: answers_of(model, features, share), autograph=False, jit_compile=xla
    )

    def in_replica(features):
        return of_replica(features)  # see metrics.Evaluation.sums_in_replica

    @functools.partial(tf.function, autograph=False)
    def of_step(iterator):
        return strategy.gather(strategy.run(in_replica, args=(iterator.get_next(),)), axis=0)

    iterator = iter(dataset(plan, 0, plan.steps_per_epoch, strategy))
    rows = [of_step(iterator).numpy() for _ in range(plan.steps_per_epoch)]
    return np.concatenate(rows)[: plan.rows_per_epoch]


def path_of(plan, directory):
    """The file of a split's pairs, named by their tokens and how rows cut them."""
    store = plan.store
    digest = hashlib.sha256(plan.name.encode())
    for array in (store.tokens, store.offsets, store.targets_start):
        digest.update(np.ascontiguousarray(array))
    name = f"{store.meta['split']}-{digest.hexdigest()[:16]}.npz"
    return os.path.join(directory.reference, name)


def fingerprint_of_weights(model):
    """Changes when the model's weights do, or what it computes in."""
    digest = hashlib.sha256(model.compute_dtype.encode())
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight.numpy()))
    return digest.hexdigest()


def is_of(path, weights):
    """Whether there is a file by the model of this fingerprint."""
    if not os.path.exists(path):
        return False
    with np.load(path) as file:
        return str(file["weights"]) == weights


def write(path, found, weights):
    """Writes a file that is there as a whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.tmp", "wb") as file:
        np.savez(file, log_probabilities=found, weights=weights)
    os.replace(f"{path}.tmp", path)
