"""Batch plans: which tokens of a store lie where in which batch.

`plan.batch(step)` is a pure function of the store, the seed and the step. Row r of step s
is row s * batch_size + r of an endless list: in training one epoch after another, each
in an order of its own; in evaluation the store once, then empty rows. A shard of a batch is
a run of its rows, so hosts and replicas divide it as they like.

What a row is:
  windows     T tokens of the stream of all examples, wherever they begin;
  contiguous  the tokens that follow those of the same row in the batch before;
  packed      as many whole examples as it can hold, told apart by `segments`;
  bucketed    one example, in a batch of others of about its length;
  pairs       the two examples of a pair, told apart by `segments`.
The first two are here, the last in pair_batches.py, the others in example_batches.py.
"""

import gin
import numpy as np

from trainers.data.shuffle import shuffled
from trainers.errors import UserError


class Plan:
    """What plans share. Subclasses set `rows_per_epoch` and give `rows`.

    Args:
      store: see store.py.
      batch_size: rows of a global batch.
      sequence_length: T, tokens of a row.
      seed: of the order of the rows.
      source_length: S, tokens of an encoder's row; None where all lies in one row.
      training: whether rows are shuffled and epochs follow each other without end.

    Attributes:
      rows_per_epoch, steps_per_epoch: int; the last step may be partly empty.
      rows_together: how many rows, from a multiple of it on, are asked for at once.
      parts: {name: (first step, step after the last)} of what is measured on its own.
      feature_shapes: {name: (dtype, shape of a row)}, None for a length that changes.
      evaluation_stride: of windows that overlap, else None; see `windows`.
    """

    rows_per_epoch: int
    evaluation_stride: int | None = None
    rows_together = 1

    def __init__(
        self, store, batch_size, sequence_length, seed=0, source_length=None, training=True
    ):
        self.store = store
        self.batch_size = batch_size
        self.sequence_length = sequence_length
        self.seed = seed
        self.source_length = source_length
        self.training = training

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.rows_per_epoch // self.batch_size)

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        return {}

    @property
    def feature_shapes(self) -> dict:
        return features_of(self.sequence_length, self.source_length)

    def batch(self, step: int, shard: int = 0, num_shards: int = 1) -> dict[str, np.ndarray]:
        """The features of one shard of the batch of a step (see zoo/model.py)."""
        rows = self.batch_size // num_shards
        first = step * self.batch_size + shard * rows
        return self.at(np.arange(first, first + rows, dtype=np.int64))

    def share_counted(self, steps: int = 4) -> float:
        """Of the tokens of a batch how many have a weight, by some batches of an epoch."""
        last_whole = max(self.steps_per_epoch - 2, 0)
        chosen = np.unique(np.linspace(0, last_whole, steps, dtype=np.int64))
        return float(np.mean([np.mean(self.batch(step)["weights"] != 0) for step in chosen]))

    def at(self, index) -> dict[str, np.ndarray]:
        """Features of the rows `index` [B] of the endless list."""
        if not self.training:
            return self.rows(np.zeros_like(index), index, index < self.rows_per_epoch)
        epoch, row = np.divmod(index, self.rows_per_epoch)
        return self.rows(epoch, row, np.ones(len(index), bool))

    def rows(self, epoch, row, real) -> dict[str, np.ndarray]:
        """Features of rows `row` [B] of epochs `epoch` [B]; empty where `real` [B] is False."""
        raise NotImplementedError

    def shuffled(self, row, epoch, size):
        """`row` [B] out of `size`, in the order of the epoch."""
        return shuffled(row, size, self.seed * 1_000_003 + epoch) if self.training else row


@gin.configurable
def windows(
    store,
    batch_size: int,
    sequence_length: int,
    seed: int = 0,
    source_length: int | None = None,
    training: bool = True,
    evaluation_stride: int | None = None,
) -> Plan:
    """Fixed windows over the stream, shuffled; in training cut elsewhere in every epoch.

    Args:
      store, batch_size, sequence_length, seed, source_length, training: see Plan.
      evaluation_stride: in evaluation, tokens from a window to the next. Where windows overlap a
        token counts in the first that holds it, with at least `sequence_length` less this many
        tokens before it. None for windows side by side, whose first tokens have none.
    """
    return Windows(
        store, batch_size, sequence_length, seed, source_length, training, evaluation_stride
    )


@gin.configurable
def contiguous(
    store,
    batch_size: int,
    sequence_length: int,
    seed: int = 0,
    source_length: int | None = None,
    training: bool = True,
) -> Plan:
    """`batch_size` streams read side by side, as recurrent models with a carried state need
    (Mikolov et al. 2010, Zaremba et al. 2014)."""
    return Contiguous(store, batch_size, sequence_length, seed, source_length, training)


class Windows(Plan):
    def __init__(self, *args):
        *args, evaluation_stride = args
        super().__init__(*args)
        require_stream(self)
        tokens, length = len(self.store.tokens), self.sequence_length
        self.stride = length if evaluation_stride is None else evaluation_stride
        if not 1 <= self.stride <= length:
            raise UserError(
                f"windows.evaluation_stride = {self.stride}: must be from 1 to SEQUENCE_LENGTH, "
                f"which is {length}"
            )
        if self.training:
            self.stride = length
            self.rows_per_epoch = max((tokens - length + 1) // length, 1)
            self.shifts = min(length, tokens - length * self.rows_per_epoch + 1)
        else:
            self.rows_per_epoch = 1 + -(-max(tokens - length, 0) // self.stride)
            self.shifts = 1
            self.evaluation_stride = evaluation_stride

    def rows(self, epoch, row, real):
        length = self.sequence_length
        shift = shuffled(np.zeros_like(epoch), self.shifts, self.seed * 1_000_003 + epoch)
        start = shift + self.stride * self.shuffled(row, epoch, self.rows_per_epoch)
        features = stream_rows(self.store.tokens, start, length, real)
        if self.stride < length:
            # What a window shares with the one before was predicted there.
            seen = np.where(start > 0, length - self.stride, 0)
            features["weights"][np.arange(length) < seen[:, None]] = 0
        return features


class Contiguous(Plan):
    def __init__(self, *args):
        super().__init__(*args)
        require_stream(self)
        self.stream_length = -(-len(self.store.tokens) // self.batch_size)
        self.rows_per_epoch = self.batch_size * -(-self.stream_length // self.sequence_length)

    def rows(self, epoch, row, real):
        step, stream = np.divmod(row, self.batch_size)
        begin = stream * self.stream_length
        start = begin + step * self.sequence_length
        end = begin + self.stream_length
        return stream_rows(self.store.tokens, start, self.sequence_length, real, begin, end)


def stream_rows(tokens, start, length, real, begin=None, end=None):
    """Rows of the stream.

    Args:
      tokens: [M].
      start: int64 [B], index of each row's first target.
      length: T.
      real: bool [B], False for rows to leave empty.
      begin: int64 [B], where position 0 is; None for `start`.
      end: int64 [B], where each row's stream ends, if before the last token.
    """
    index = start[:, None] + np.arange(length)
    valid = index < (len(tokens) if end is None else np.minimum(end, len(tokens))[:, None])
    valid &= real[:, None]
    positions = index - (start if begin is None else begin)[:, None]
    return row_features(tokens, index, valid, valid, valid, positions)


def row_features(tokens, index, valid, weights, segments, positions):
    """Features of decoder rows.

    Args:
      tokens: [M].
      index: int64 [B, T], of each target token.
      valid: bool [B, T], False for padding.
      weights, segments, positions: [B, T], of the feature of that name where it is no padding.

    Returns:
      dict of int32 [B, T], `weights` float32. Each input is the token before the target, or
      `<eos>` before the first of all, which in a store is also what ends the example before.
    """
    all_valid = valid.all()
    index = index if all_valid else np.where(valid, index, 0)
    targets = tokens[index].astype(np.int32)
    inputs = tokens[np.maximum(index - 1, 0)].astype(np.int32)
    inputs[index == 0] = 0
    features = {"inputs": inputs, "targets": targets}
    features["segments"] = np.asarray(segments).astype(np.int32)
    features["positions"] = positions.astype(np.int32)
    features["weights"] = np.asarray(weights).astype(np.float32)
    if not all_valid:
        for feature in features.values():
            feature[~valid] = 0
    return features


def require_stream(plan):
    name = type(plan).__name__.lower()
    tokens = len(plan.store.tokens)
    if plan.store.meta.get("pairs"):
        raise UserError("the task has pairs of answers; set Experiment.batches = @pairs")
    if plan.source_length:
        raise UserError(
            f"{name} batches have no source for an encoder; choose packed or bucketed batches"
        )
    if plan.store.meta["kind"] != "language_modelling":
        raise UserError(
            f"{name} batches know no inputs and targets; choose packed or bucketed batches"
        )
    if plan.training and plan.sequence_length > tokens:
        raise UserError(
            f"SEQUENCE_LENGTH = {plan.sequence_length}: the {plan.store.meta['split']} split has "
            f"only {tokens} tokens; give more text or a shorter length"
        )


def features_of(sequence_length, source_length):
    """{name: (dtype, shape of a row)}"""
    row, source_row = (sequence_length,), (source_length,)
    shapes = dict.fromkeys(("inputs", "targets", "segments", "positions"), ("int32", row))
    shapes["weights"] = ("float32", row)
    if source_length:
        for name in ("source", "source_segments", "source_positions"):
            shapes[name] = ("int32", source_row)
    return shapes
