"""The memory that training will need, estimated before it is taken; machine.py has what there is.

What the gradient keeps of a block is the inputs and outputs of its matrix products, the masks of
dropout, and attention's weights, float32 [B, H, T, S]. docs/benchmarks.md, "Memory", has the
estimate beside measured peaks.
"""

import dataclasses

import tensorflow as tf

from trainers import machine
from trainers.adaptation import UPDATE
from trainers.chunked_loss import MOST_LOGITS
from trainers.errors import UserError
from trainers.strategies import local_replicas
from zoo.layers.attention import Attention, CrossAttention
from zoo.layers.dropout import Dropout

FLOAT = 4  # bytes of a weight, a gradient and a slot, whatever the compute dtype

# Fitted to the table in docs/benchmarks.md.
RUNTIME = 192 * 2**20  # of compilation and the loop, whatever the model,
A_BLOCK = 20 * 2**20  # and of a block's part of them
VALUES = 1.15  # of what is kept, with what is there for a moment
SCORES = 1.5  # the same of attention's weights
UNFUSED = 1.4  # without any XLA, elementwise operations keep their inputs too
LOGITS = 3  # logits, probabilities and gradient of a chunk

CLEARLY = 1.3  # refused is what is that much above: the estimate may be wrong by as much
WORTH = 0.9  # of what is needed: what saves less is no advice


@dataclasses.dataclass(frozen=True)
class Plan:
    """What beside the model decides on a step's memory.

    Attributes:
      rows: of a replica.
      length, source_length: tokens of a row of the decoder, of the encoder.
      accumulation: micro-batches.
      averages: whether an average of the weights is kept.
      xla: whether XLA compiles the model, or the functions in it that are `fuse`d.
      rematerialise: whether blocks are recomputed in the backward pass.
    """

    rows: int
    length: int
    source_length: int = 0
    accumulation: int = 1
    averages: bool = False
    xla: bool = True
    rematerialise: bool = False


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Bytes that a replica needs at its peak, in parts."""

    weights: float
    gradients: float
    optimizer: float
    averages: float
    activations: float
    logits: float
    update: float
    others: float

    @property
    def total(self):
        return sum(dataclasses.astuple(self))

    def __str__(self):
        parts = dataclasses.asdict(self).items()
        return ", ".join(f"{name} {readable(size)}" for name, size in parts if size)


def check_run(experiment, model, optimizer, strategy, accumulation, averages, xla):
    """`check` of a run of an Experiment; for the last three see Plan."""
    plan = Plan(
        experiment.batch_size // strategy.num_replicas_in_sync,
        experiment.sequence_length,
        experiment.longest_source if model.reads_source else 0,
        accumulation,
        averages,
        xla,
        getattr(model, "rematerialise", False),
    )
    check(model, optimizer, plan, local_replicas(strategy))


def check(model, optimizer, plan, replicas=1):
    """Refuses a run that clearly needs more memory than there is, before it takes it.

    Args:
      model: a LanguageModel, as adapted and frozen.
      optimizer: a Keras optimizer of the run's kind, which is used up.
      plan: Plan.
      replicas: how many of this process share the memory, where it is the machine's.

    Raises:
      UserError: what it needs in parts, what there is, and what would help.
    """
    there = machine.memory()
    if there is None:
        return
    slots = slot_bytes(optimizer, model.trainable_variables)
    needed = estimate(model, slots, plan)
    share = there.total(held=needed.weights * replicas) / (replicas if there.shared else 1)
    if needed.total <= share:
        return
    said = f"training needs about {readable(needed.total)} of memory ({needed}), and there "
    said += f"is {readable(share)} {there.name}"
    said += f" for each of {replicas} replicas" if there.shared and replicas > 1 else ""
    if needed.total <= CLEARLY * share:
        print(f"{said}: it may fail")
        return
    advice = ", ".join(savings(model, slots, plan, needed, share)) or "take a smaller model"
    raise UserError(f"{said}; {advice}; train.check_memory = False tries nevertheless")


def savings(model, slots, plan, needed, share):
    """What would make a run smaller, with what it needs then, that which helps most first."""
    ways = {}
    if not any(UPDATE in variable.path for variable in model.trainable_variables):
        gone = needed.gradients + needed.optimizer + needed.averages + needed.update
        ways["Experiment.adaptation = @LoRA()"] = needed.total - gone
    finer = [n for n in range(plan.accumulation + 1, plan.rows + 1) if plan.rows % n == 0]
    if finer:
        totals = {n: total(model, slots, plan, accumulation=n) for n in finer}
        n = next((n for n in finer if totals[n] <= share), finer[-1])
        ways[f"ACCUMULATION = {n}"] = totals[n]
    if hasattr(model, "rematerialise") and not plan.rematerialise:
        name = f"{type(model).__name__}.rematerialise = True"
        ways[name] = total(model, slots, plan, rematerialise=True)
    half = plan.length // 2
    ways[f"SEQUENCE_LENGTH = {half}"] = total(model, slots, plan, length=half)
    for way, bytes_ in sorted(ways.items(), key=lambda item: item[1]):
        if bytes_ < WORTH * needed.total:
            yield f"{way} needs {readable(bytes_)}"


def total(model, slots, plan, **changes):
    return estimate(model, slots, dataclasses.replace(plan, **changes)).total


def estimate(model, slots, plan):
    """The Estimate of a train step.

    Args:
      model: a LanguageModel, as adapted and frozen.
      slots: bytes, from `slot_bytes`.
      plan: Plan.
    """
    learned = FLOAT * entries(model.trainable_variables)
    averages = learned if plan.averages else 0
    rows = plan.rows / plan.accumulation
    activations = rows * activation_bytes(model, plan)
    logits = LOGITS * FLOAT * min(rows * plan.length * model.vocabulary_size, MOST_LOGITS)
    num_blocks = sum(len(blocks) for blocks, _ in stacks(model, plan))
    return Estimate(
        weights=FLOAT * entries(model.weights),
        # Of a micro-batch, the sum of those before it, and that with it.
        gradients=(3 if plan.accumulation > 1 else 1) * learned,
        optimizer=slots,
        averages=averages,
        activations=activations,
        logits=logits,
        # It makes all anew before the old is gone, where activations were, as far as that goes.
        update=max(learned + slots + averages - activations - logits, 0),
        others=RUNTIME + A_BLOCK * num_blocks,
    )


def slot_bytes(optimizer, variables):
    """What an optimizer will keep beside variables, counted as it asks for it and not made."""
    count = 0

    def of_reference(reference_variable, *args, **kwargs):
        return of_shape(reference_variable.shape)

    def of_shape(shape, *args, **kwargs):
        nonlocal count
        count += tf.TensorShape(shape).num_elements()

    optimizer.add_variable_from_reference = of_reference
    optimizer.add_variable = of_shape
    optimizer.build(variables)
    return FLOAT * count


def activation_bytes(model, plan):
    """What a row's forward pass leaves to the gradient, the logits apart."""
    width = tf.as_dtype(model.compute_dtype).size
    kept = recomputed = 0
    for blocks, length in stacks(model, plan):
        sizes = [block_bytes(model, block, length, plan, width) for block in blocks]
        if plan.rematerialise:
            kept += VALUES * width * len(blocks) * length * model.width
            recomputed = max(recomputed, 2 * max(sizes))  # a block's values and their gradients
        else:
            kept += sum(sizes)
    return (kept + recomputed) * (1 if plan.xla else UNFUSED)


def stacks(model, plan):
    """(blocks, tokens that they read); a model without blocks is one of its own."""
    if hasattr(model, "encoder"):
        return [(model.encoder, plan.source_length), (model.decoder, plan.length)]
    return [(getattr(model, "blocks", [model]), plan.length)]


def block_bytes(model, block, length, plan, width):
    """The same of one block, or of a model that has none; `width`: bytes of a value."""
    values = length * ends(block.weights, model.vocabulary_size)
    scores = 0
    for layer in block._flatten_layers():
        if isinstance(layer, Attention):
            scores += layer.num_heads * length * length
        elif isinstance(layer, CrossAttention):
            scores += layer.num_heads * length * plan.source_length
            of_source = ends(layer.key_value.weights, model.vocabulary_size)
            values += (plan.source_length - length) * of_source
        elif isinstance(layer, Dropout) and layer.rate:
            values += length * model.width
    return VALUES * width * values + SCORES * FLOAT * scores


def ends(weights, vocabulary_size):
    """Inputs and outputs of a token's products with matrices; tables of tokens are none.

    Low-rank updates have the inputs and outputs of their matrices.
    """
    matrices = [weight for weight in weights if len(weight.shape) == 2]
    shapes = [matrix.shape for matrix in matrices if UPDATE not in matrix.path]
    return sum(sum(shape) for shape in shapes if vocabulary_size not in shape)


def entries(variables):
    return sum(tf.TensorShape(variable.shape).num_elements() for variable in variables)


def readable(count):
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"
