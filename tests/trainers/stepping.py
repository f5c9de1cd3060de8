"""Short runs of the train step on tiny models: here, on two CPUs, and in two processes.

TensorFlow splits the CPU only before it starts, and joins a cluster only then, so what needs
replicas or workers is run by `python -m tests.trainers.stepping NAME FILE`; see processes.py.
"""

import functools
import random
import sys
import tempfile
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.trainers import pairing
from tests.trainers.data.made import language_store, pair_store
from trainers import chunked_loss, losses, metrics, optimizers, strategies
from trainers.data import batches, example_batches, pipeline
from trainers.step import TrainStep
from zoo import LSTMLM, DecoderLM, EncoderDecoder
from zoo.layers.dropout import Dropout
from zoo.model import LanguageModel

V = 257
ROWS = 8


@functools.cache
def stores():
    """(language modelling, text to text), the same in every process."""
    letters = random.Random(0)

    def word(least, most):
        return "".join(letters.choices("abcdefgh", k=letters.randint(least, most)))

    folder = tempfile.mkdtemp()
    texts = language_store(f"{folder}/texts", [word(10, 60) for _ in range(10)])
    pairs = pair_store(f"{folder}/pairs", [(word(2, 8), word(1, 8)) for _ in range(60)])
    return texts, pairs


class Bigram(LanguageModel):
    """The smallest model that has an embedding, a matrix and a vector."""

    def __init__(self, vocabulary_size=V, width=8):
        super().__init__()
        self.table = self.add_weight((V, width), "normal", name="embedding")
        self.kernel = self.add_weight((width, V), "normal", name="kernel")
        self.bias = self.add_weight((V,), "zeros", name="bias")
        self.built = True

    def hidden(self, features, state=None, training=False):
        return ops.take(self.table, features["inputs"], axis=0), state

    def logits(self, hidden):
        return ops.cast(ops.matmul(hidden, self.kernel) + self.bias, "float32")


class Masks(Bigram):
    """Carries the mask that its dropout drew for each row, so that tests can see it."""

    def __init__(self, vocabulary_size=V):
        super().__init__()
        self.dropout = Dropout(0.5)

    def initial_state(self, batch_size):
        return ops.zeros((batch_size, 64))

    def hidden(self, features, state=None, training=False):
        hidden, _ = super().hidden(features)
        return hidden, self.dropout(ops.ones_like(state), training=training)


# Without biases: the gradient of a key's bias is nothing but rounding, which Adam makes large.
FAMILIES = {
    "lstm_lm": lambda: LSTMLM(V, 1, 16),
    "decoder_lm": lambda: DecoderLM(V, 1, 16, 2),
    "encoder_decoder": lambda: EncoderDecoder(V, 1, width=16, num_heads=2, use_bias=False),
    "bigram": Bigram,
    "masks": Masks,
}


def plan_of(family, training=True):
    texts, pairs = stores()
    if family in ("lstm_lm", "masks"):
        return batches.contiguous(texts, ROWS, 12, training=training)
    if family == "encoder_decoder":
        return example_batches.packed(pairs, ROWS, 16, source_length=16, training=training)
    return example_batches.packed(pairs, ROWS, 24, training=training)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.5),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "adafactor": lambda: keras.optimizers.Adafactor(0.05),
    "lion": lambda: keras.optimizers.Lion(0.003, weight_decay=0.1),
    "muon": lambda: optimizers.Muon(0.02, weight_decay=0.1),
}


def make(family, optimizer="adamw", strategy="one_device", **settings):
    """(TrainStep, plan), the same whenever it is called."""
    if isinstance(strategy, str):
        strategy = strategies.make_strategy(strategy)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = FAMILIES[family]()
        optimizer = optimizers.prepare(OPTIMIZERS[optimizer](), model.trainable_variables, ["bias"])
    plan = plan_of(family)
    settings = {"xla": False, "row_tokens": plan.sequence_length} | settings
    step = TrainStep(model, optimizer, losses.CrossEntropy(), strategy, ROWS, **settings)
    return step, plan


def iterator(step, plan, start=0):
    return iter(pipeline.dataset(plan, start, strategy=step.strategy))


def flat(variables):
    return np.concatenate([np.ravel(variable.numpy()) for variable in variables])


def trained(family, optimizer, strategy="one_device", steps=20, tokens=None, **settings):
    """{"results": of TrainStep.run, "weights", "state": flat, "evaluated"} after some steps.

    With `tokens`, so many are a chunk of the loss, and a decoder's blocks are recomputed.
    """
    step, plan = make(family, optimizer, strategy, **settings)
    most = tokens * V if tokens else chunked_loss.MOST_LOGITS
    step.model.rematerialise = bool(tokens)
    with mock.patch.object(chunked_loss, "MOST_LOGITS", most):
        results = step.run(iterator(step, plan), steps)
    state = [np.ravel(array) for array in step.carried.get()]
    return {
        "results": results,
        "weights": flat(step.model.trainable_variables),
        "state": np.concatenate([*state, [0.0]]),
        "evaluated": evaluated(step, family),
    }


def evaluated(step, family):
    """[loss, accuracy, tokens] of a split that no number of rows divides."""
    plan = plan_of(family, training=False)
    several = step.strategy.num_replicas_in_sync > 1  # where XLA has a part for each
    found = metrics.Evaluation(step.model, plan, step.strategy, xla=step.xla and several).run()
    return np.array([found[name] for name in ("loss", "accuracy", "tokens")])


def masks(strategy="one_device", **settings):
    """[steps, rows, 64] masks of two steps."""
    step, plan = make("masks", "sgd", strategy, **settings)
    feed = iterator(step, plan)
    drawn = []
    for _ in range(2):
        step.run(feed, 1)
        drawn += step.carried.get()
    return np.stack(drawn)


WAYS = {
    "one device": {"xla": True},
    "2 micro-batches": {"accumulation": 2},
    "4 micro-batches": {"accumulation": 4},
    "2 replicas": {"strategy": "mirrored", "xla": True},
    "2 replicas, 2 micro-batches": {"strategy": "mirrored", "accumulation": 2},
    "2 replicas, 2 micro-batches, XLA": {"strategy": "mirrored", "accumulation": 2, "xla": True},
    "2 replicas, 2 micro-batches, chunks": {
        "strategy": "mirrored",
        "accumulation": 2,
        "tokens": 20,
    },
    "elementwise by XLA": {"xla_parts": True},
    "2 replicas, 2 micro-batches, chunks, elementwise by XLA": {
        "strategy": "mirrored",
        "accumulation": 2,
        "tokens": 20,
        "xla_parts": True,
    },
    "2 workers": {"strategy": "multi_worker", "xla": True},
    "2 workers, 2 micro-batches": {"strategy": "multi_worker", "accumulation": 2},
}
one_device, two, four, replicas, both, both_by_xla, in_chunks, *more = WAYS
by_parts, in_chunks_by_parts, workers, both_of_workers = more
OPTIMIZER_OF = {"lstm_lm": "adamw", "decoder_lm": "muon", "encoder_decoder": "adamw"}
QUICK = {
    "lstm_lm": (two, both, workers),
    "decoder_lm": (replicas, in_chunks, by_parts, both_of_workers),
    "encoder_decoder": (both,),
}
SLOW = {  # what takes long to compile, and what differs little from the quick ones
    "lstm_lm": (four, replicas, both_of_workers),
    "decoder_lm": (four, both, in_chunks_by_parts, workers),
    "encoder_decoder": (four, replicas, both_by_xla, by_parts, workers),
}


def run_all(ways, chosen):
    """{name: array} of the runs, of each family in these ways, of whose strategy `chosen` is true."""
    found = {}
    for family, optimizer in OPTIMIZER_OF.items():
        for way in (one_device, *ways[family]):
            if chosen(WAYS[way].get("strategy")):
                arrays = trained(family, optimizer, clip_norm=0.5, **WAYS[way])
                found.update({f"{family}/{way}/{key}": value for key, value in arrays.items()})
    return found


def in_two_workers():
    """{name: array}, the same in both."""
    return slowly_in_two_workers(QUICK) | {"masks": masks("multi_worker", xla=True)}


def slowly_in_two_workers(ways=SLOW):
    strategies.make_strategy("multi_worker")
    return run_all(ways, lambda strategy: strategy == "multi_worker")


def slowly_in_two_cpus():
    strategies.split_cpu(2)
    return run_all(SLOW, lambda strategy: strategy != "multi_worker")


def in_two_cpus():
    """{name: array}"""
    strategies.split_cpu(2)
    found = run_all(QUICK, lambda strategy: strategy != "multi_worker")

    def keep(name, arrays):
        found.update({f"{name}/{key}": value for key, value in arrays.items()})

    for optimizer in OPTIMIZERS:
        keep(f"{optimizer}/one device", trained("bigram", optimizer, steps=20, xla=True))
        keep(f"{optimizer}/2 replicas", trained("bigram", optimizer, "mirrored", steps=20))
    found["masks"] = masks("mirrored", xla=True)
    found["masks without XLA"] = masks("mirrored", accumulation=2)
    keep("pairs", pairing.in_two_ways())
    keep("averages", averages())
    keras.config.set_dtype_policy("mixed_float16")
    keep("overflowing", overflowing("mirrored"))
    keras.config.set_dtype_policy("float32")
    keep("carried", carried())
    keep("strategies", made_strategies())
    return found


def overflowing(strategy="one_device"):
    """In float16: a step whose last row overflows, and then one that does not."""
    step, plan = make("bigram", "adamw", strategy, clip_norm=1.0)
    found = {"before": flat(step.model.trainable_variables)}
    found["first scale"] = step.loss_scale.scale.numpy()
    broken = plan.batch(0)
    broken["weights"][ROWS - 1] = 3e38
    batches = [broken, plan.batch(1)]

    def parts_of_batches(context):
        rows = ROWS // step.strategy.num_replicas_in_sync
        parts = [
            {name: array[i : i + rows] for name, array in batch.items()}
            for batch in batches
            for i in range(0, ROWS, rows)
        ]
        signature = {k: tf.TensorSpec(v.shape, v.dtype) for k, v in parts[0].items()}
        return tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=signature)

    feed = iter(step.strategy.distribute_datasets_from_function(parts_of_batches))
    step.run(feed, 1)
    found["after"] = flat(step.model.trainable_variables)
    found["scale"] = np.array([variable.numpy() for variable in step.loss_scale.variables])
    found["iterations"] = step.optimizer.iterations.numpy()
    step.run(feed, 1)
    found["next"] = flat(step.model.trainable_variables)
    replicas = step.strategy.run(lambda: step.model.kernel.value + 0.0)
    replicas = step.strategy.experimental_local_results(replicas)
    found["of replicas"] = np.stack([part.numpy() for part in replicas])
    return found


def averages():
    """Moving averages on two replicas: kept, exchanged with the weights and back."""
    step, plan = make("bigram", "sgd", "mirrored", ema_decay=0.5)
    history = [flat(step.model.trainable_variables)]
    feed = iterator(step, plan)
    for _ in range(3):
        step.run(feed, 1)
        history.append(flat(step.model.trainable_variables))
    kept = flat(step.averages)
    with step.averaged():
        inside = flat(step.model.trainable_variables)
        replicas = step.strategy.run(lambda: step.model.kernel.value + 0.0)
        replicas = [part.numpy() for part in step.strategy.experimental_local_results(replicas)]
    return {
        "history": np.stack(history),
        "kept": kept,
        "inside": inside,
        "of replicas": np.stack(replicas),
        "after": flat(step.model.trainable_variables),
        "kept after": flat(step.averages),
    }


def carried():
    """Carried state on two replicas, written and read as rows of the global batch."""
    step, _ = make("masks", "sgd", "mirrored")
    rows = np.arange(ROWS * 64, dtype="float32").reshape(ROWS, 64)
    step.carried.set([rows])
    read = step.strategy.run(lambda: step.carried.read() + 0.0)
    first, second = step.strategy.experimental_local_results(read)
    return {"set": rows, "got": step.carried.get()[0], "first": first, "second": second}


def made_strategies():
    mirrored = strategies.make_strategy("mirrored", 2)
    try:
        strategies.make_strategy("mirrored", 3)
        refusal = ""
    except strategies.UserError as error:
        refusal = str(error)
    return {
        "mirrored": mirrored.num_replicas_in_sync,
        "one device": strategies.make_strategy("one_device", 2).num_replicas_in_sync,
        "same again": strategies.make_strategy("mirrored") is mirrored,
        "refusal": refusal,
    }


if __name__ == "__main__":
    np.savez(sys.argv[2], **globals()[sys.argv[1]]())
