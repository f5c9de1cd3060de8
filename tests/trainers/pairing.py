"""Short runs of the train step on pairs of answers, by tiny models; see stepping.py."""

import functools
import random
import tempfile
from unittest import mock

import keras
import numpy as np

from tests.trainers.data.made import preference_store
from trainers import chunked_loss, optimizers, reference, strategies
from trainers.data.pair_batches import pairs
from trainers.data.pipeline import dataset
from trainers.preferences import DPO, PairEvaluation
from trainers.step import TrainStep
from zoo import LSTMLM, DecoderLM, EncoderDecoder

V = 257
ROWS = 8
LENGTH = 20
STEPS = 4
MODELS = {
    "lstm_lm": lambda: LSTMLM(V, 1, 16),
    "decoder_lm": lambda: DecoderLM(V, 1, 16, 2),
    "encoder_decoder": lambda: EncoderDecoder(V, 1, width=16, num_heads=2, use_bias=False),
}


@functools.cache
def store():
    """Of 21 pairs, some of which a row must cut."""
    letters = random.Random(0)

    def word(least, most):
        return "".join(letters.choices("abcdefgh", k=letters.randint(least, most)))

    triples = [(word(2, 12), "x" + word(0, 12), "y" + word(0, 12)) for _ in range(21)]
    return preference_store(tempfile.mkdtemp(), triples)


def plan_of(family, training=True, rows=ROWS):
    source_length = LENGTH if family == "encoder_decoder" else None
    return pairs(store(), rows, LENGTH, source_length=source_length, training=training)


def model_of(family):
    keras.utils.set_random_seed(0)
    return MODELS[family]()


def made(family, strategy="one_device", rate=0.1, **settings):
    """(TrainStep, plan, plan of evaluation), both of which know the reference."""
    strategy = strategies.make_strategy(strategy)
    with strategy.scope():
        model = model_of(family)
        optimizer = optimizers.prepare(keras.optimizers.SGD(rate), model.trainable_variables, [])
    plan, held_out = plan_of(family), plan_of(family, training=False)
    settings = {"xla": False} | settings
    step = TrainStep(model, optimizer, DPO(0.5), strategy, ROWS, **settings)
    known = reference.log_probabilities(model, held_out, strategy, step.xla)
    plan.reference = held_out.reference = known
    return step, plan, held_out


def trained(tokens=None, **settings):
    """{"reference", "results" of TrainStep.run, "weights" flat, "evaluated"} of a decoder.

    With `tokens`, the logits of so many are made at once.
    """
    most = tokens * V if tokens else chunked_loss.MOST_LOGITS
    with mock.patch.object(chunked_loss, "MOST_LOGITS", most):
        step, plan, held_out = made("decoder_lm", **settings)
        results = step.run(iter(dataset(plan, strategy=step.strategy)), STEPS)
    found = PairEvaluation(step.model, held_out, step.strategy, step.xla).run()
    return {
        "reference": plan.reference,
        "results": results,
        "weights": np.concatenate([np.ravel(v.numpy()) for v in step.model.trainable_variables]),
        "evaluated": np.array(list(found.values())),
    }


def in_two_ways():
    """{name: array} of one device by XLA, and of two replicas that take all by parts."""
    ways = {
        "one device": trained(xla=True),
        "replicas": trained(strategy="mirrored", accumulation=2, tokens=30, xla=True),
    }
    return {f"{way}/{key}": value for way, found in ways.items() for key, value in found.items()}
