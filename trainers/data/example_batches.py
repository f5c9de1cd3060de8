"""Batch plans that keep examples apart: packed rows, and rows of one example sorted by length.

Both lay out items. An item is an example, or, of language modelling and of conversations, a piece
of one that is longer than a row. The tables that say what lies where are made once and kept beside the store.
"""

import logging
import os

import gin
import numpy as np

from trainers.data import turns
from trainers.data.batches import Plan, features_of, row_features, windows
from trainers.data.tokenizer_base import EOS
from trainers.errors import UserError


@gin.configurable
def packed(
    store,
    batch_size: int,
    sequence_length: int,
    seed: int = 0,
    source_length: int | None = None,
    training: bool = True,
    input_weight: float = 0.0,
) -> Plan:
    """Rows of as many successive examples as fit, told apart by their segments.

    Args:
      store, batch_size, sequence_length, seed, source_length, training: see batches.Plan.
      input_weight: see `ExamplePlan`.
    """
    given = (store, batch_size, sequence_length, seed, source_length, training)
    return Packed(*given, input_weight=input_weight)


@gin.configurable
def auto(
    store,
    batch_size: int,
    sequence_length: int,
    seed: int = 0,
    source_length: int | None = None,
    training: bool = True,
) -> Plan:
    """Packed rows of a text-to-text task, windows of language modelling.

    Both fill rows, so that with `Experiment.batch_tokens` a step has about that many tokens
    whatever the lengths of the examples. A recurrent model's carried state needs `contiguous`.
    """
    plan = packed if store.meta["kind"] == "text_to_text" else windows
    return plan(store, batch_size, sequence_length, seed, source_length, training)


@gin.configurable
def bucketed(
    store,
    batch_size: int,
    sequence_length: int,
    seed: int = 0,
    source_length: int | None = None,
    training: bool = True,
    buckets: int = 4,
    input_weight: float = 0.0,
) -> Plan:
    """A row an example; a batch holds examples of about one length.

    Args:
      store, batch_size, sequence_length, seed, source_length, training: see batches.Plan.
      buckets: number of lengths that rows have: the whole, half, a quarter ...
      input_weight: see `ExamplePlan`.
    """
    given = (store, batch_size, sequence_length, seed, source_length, training)
    return Bucketed(*given, buckets=buckets, input_weight=input_weight)


def check_fits(plan, kind, model):
    """Refuses a plan that packs rows, for a model that reads a row as one example; and one whose rows
    go on from batch to batch, for a model that carries nothing on.

    Args:
      plan: function that makes it.
      kind: of the task.
      model: a zoo.LanguageModel.

    Raises:
      UserError: it has to be another plan.
    """
    name = getattr(plan, "__name__", "")
    packs = name == "packed" or (name == "auto" and kind == "text_to_text")
    if packs and not model.reads_packed_rows:
        raise UserError(
            f"Experiment.batches = @{name}: puts several examples into a row, and "
            f"{type(model).__name__} reads a row as one; choose @bucketed"
        )
    if name == "contiguous" and not model.initial_state(1):
        raise UserError(
            f"Experiment.batches = @{name}: rows go on from batch to batch, and "
            f"{type(model).__name__} carries no state from one to the next; choose @windows"
        )


class ExamplePlan(Plan):
    """What they share. Subclasses say which items lie in a row, in `items_of`.

    Attributes:
      starts: int64 [I], index of each item's first token.
      ends: int64 [I + 1], lengths of the items, cumulated.
      targets: int64 [I], index of the first token that is predicted.
      source_starts, source_ends: the same of the encoder's side.
      of_pairs: whether a row is a pair, and of no other store.
      input_weight: what a token of the inputs weighs in training beside one of the targets, 1: the
        auxiliary language modelling of Radford et al. 2018, section 3.2. Inputs have many tokens
        and a label has one, so that a few hundredths are much.
    """

    of_pairs = False

    def __init__(self, *args, input_weight=0.0):
        super().__init__(*args)
        self.input_weight = input_weight if self.training else 0.0
        if input_weight and (self.source_length or self.store.meta["kind"] != "text_to_text"):
            why = "an encoder's inputs are not predicted"
            if not self.source_length:
                why = "only a text-to-text task has inputs"
            raise UserError(f"input_weight = {input_weight}: {why}; set it to 0")
        if self.of_pairs != self.store.meta.get("pairs", False):
            raise UserError(
                "Experiment.batches = @pairs: the task has no pairs of answers; choose @packed"
                if self.of_pairs
                else "the task has pairs of answers; set Experiment.batches = @pairs"
            )
        if self.source_length and self.store.meta["kind"] == "language_modelling":
            raise UserError(
                "language modelling has nothing for an encoder to read; choose a model without "
                "one, or a text-to-text task"
            )
        self.name = f"{self.sequence_length}-{self.source_length or 0}"
        table = kept(self.store, f"items-{self.name}", self.items)
        self.starts, self.targets, self.ends = table[0, :-1], table[1, :-1], table[2]
        if self.source_length:
            self.source_starts, self.source_ends = table[3, :-1], table[4]

    def items(self):
        """int64 [3 or 5, I + 1]: starts, targets, ends, source_starts, source_ends."""
        begins, ends = self.store.offsets[:-1], self.store.offsets[1:]
        targets, length = self.store.targets_start, self.sequence_length
        if self.store.meta["kind"] == "language_modelling":
            starts, lengths = pieces(begins, ends, length)
            return table_of(starts, starts, lengths)
        if self.store.learned is not None:
            starts, targets, lengths, cut = turns.pieces(
                self.store.learned, self.store.offsets, length
            )
            self.warn_of_cuts(cut)
            return table_of(starts, targets, lengths)
        inputs, answers = targets - begins, ends - targets
        if self.source_length:
            # What is cut from a source is its beginning, as the export cuts it.
            sources = np.minimum(inputs, self.source_length)
            answers_kept = np.minimum(answers, length)
            self.warn_of_cuts((sources < inputs) | (answers_kept < answers))
            target_table = table_of(targets, targets, answers_kept)
            source_table = table_of(targets - sources, targets, sources)
            return np.concatenate([target_table, source_table[[0, 2]]])
        # An answer may fill half of the row at the inputs' cost, or more if they leave room.
        answers_kept = np.minimum(answers, np.maximum(length - inputs, (length + 1) // 2))
        inputs_kept = np.minimum(inputs, length - answers_kept)
        self.warn_of_cuts((inputs_kept < inputs) | (answers_kept < answers))
        return table_of(targets - inputs_kept, targets, inputs_kept + answers_kept)

    def warn_of_cuts(self, cut):
        if cut.any():
            logging.getLogger(__name__).warning(
                "%d of %d examples of the %s split are longer than a row and were cut",
                cut.sum(),
                len(cut),
                self.store.meta["split"],
            )

    def items_of(self, epoch, row, real):
        """(first, last, T, S): rows [B] hold items first [B] to before last [B], padded to T, S."""
        raise NotImplementedError

    def rows(self, epoch, row, real):
        first, last, length, source_length = self.items_of(epoch, row, real)
        tokens = self.store.tokens
        index, item, valid, segments, positions = lay_out(
            self.starts, self.ends, first, last, length
        )
        weights = index >= self.targets[item]
        if self.input_weight:
            weights = np.where(weights, 1.0, self.input_weight)
        if self.store.learned is not None:
            weights = self.store.learned[np.where(valid, index, 0)]
        features = row_features(tokens, index, valid, weights, segments, positions)
        if self.store.learned is not None:
            # What a conversation goes on from may lie in another row: it begins as prompts do.
            features["inputs"][features["positions"] == 0] = EOS
        if self.source_length:
            index, _, valid, segments, positions = lay_out(
                self.source_starts, self.source_ends, first, last, source_length
            )
            source = tokens[np.where(valid, index, 0)]
            names = ("source", "source_segments", "source_positions")
            for name, feature in zip(names, (source, segments, positions), strict=True):
                features[name] = np.where(valid, feature, 0).astype(np.int32)
        return features


class Packed(ExamplePlan):
    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.firsts = kept(self.store, f"packed-{self.name}", self.pack)
        self.rows_per_epoch = len(self.firsts) - 1

    def pack(self):
        """int64 [R + 1], the first item of each row: items in order, a new row when one is full."""
        limits = [(np.asarray(self.ends), self.sequence_length)]
        if self.source_length:
            limits.append((np.asarray(self.source_ends), self.source_length))
        firsts = [0]
        while firsts[-1] < len(self.starts):
            fit = [np.searchsorted(e, e[firsts[-1]] + size, "right") - 1 for e, size in limits]
            firsts.append(min(fit))
        return np.array(firsts, np.int64)

    def items_of(self, epoch, row, real):
        row = self.shuffled(np.where(real, row, 0), epoch, self.rows_per_epoch)
        first = self.firsts[row]
        last = np.where(real, self.firsts[row + 1], first)
        return first, last, self.sequence_length, self.source_length


class Bucketed(ExamplePlan):
    def __init__(self, *args, buckets=4, **more):
        super().__init__(*args, **more)
        self.lengths = bucket_lengths(self.sequence_length, buckets)
        self.source_lengths = bucket_lengths(self.source_length or 0, buckets)
        self.order = kept(self.store, f"bucketed-{self.name}-{buckets}", self.sort)
        steps = -(-len(self.order) // self.batch_size)
        self.rows_together = self.batch_size  # they are of one shape
        # Epochs of whole batches: a batch must not mix the ends of two.
        self.rows_per_epoch = steps * self.batch_size if self.training else len(self.order)

    @property
    def feature_shapes(self):
        shapes = features_of(self.sequence_length, self.source_length)
        return {name: (dtype, (None,)) for name, (dtype, _) in shapes.items()}

    def sort(self):
        """int64 [I], the items by their buckets, then their lengths."""
        lengths = np.diff(self.ends)
        keys = [lengths, np.searchsorted(self.lengths, lengths)]
        if self.source_length:
            source_lengths = np.diff(self.source_ends)
            keys = [source_lengths, *keys, np.searchsorted(self.source_lengths, source_lengths)]
        return np.lexsort(keys).astype(np.int64)

    def items_of(self, epoch, row, real):
        step, place = np.divmod(row, self.batch_size)
        step = self.shuffled(step, epoch, -(-len(self.order) // self.batch_size))
        whole = np.asarray(self.order[step[0] * self.batch_size :][: self.batch_size])
        place = step * self.batch_size + place
        real = real & (place < len(self.order))
        first = self.order[np.where(real, place, 0)]
        length = bucket(self.lengths, self.ends, whole)
        source_length = self.source_length and bucket(self.source_lengths, self.source_ends, whole)
        return first, first + real, length, source_length


def pieces(begins, ends, length):
    """(starts, lengths) of the pieces of at most `length` that examples are cut to."""
    counts = -(-(ends - begins) // length)
    example = np.repeat(np.arange(len(counts)), counts)
    piece = np.arange(len(example)) - (np.cumsum(counts) - counts)[example]
    starts = begins[example] + piece * length
    return starts, np.minimum(ends[example] - starts, length)


def table_of(starts, targets, lengths):
    """int64 [3, I + 1]: starts and targets with a 0 at their ends, lengths cumulated from 0."""
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return np.stack([np.append(starts, 0), np.append(targets, 0), ends]).astype(np.int64)


def lay_out(starts, ends, first, last, length):
    """Where in the store the tokens of rows of items are.

    Args:
      starts: int64 [I]; ends: int64 [I + 1]; see ExamplePlan.
      first, last: int64 [B], a row's items, from `first` to before `last`.
      length: T.

    Returns:
      index, item, valid, segments, positions: each [B, T].
    """
    place = ends[first][:, None] + np.arange(length)
    valid = place < ends[last][:, None]
    item = np.searchsorted(ends, np.where(valid, place, 0), "right") - 1
    positions = place - ends[item]
    return starts[item] + positions, item, valid, item - first[:, None] + 1, positions


def bucket_lengths(length, buckets):
    """The lengths of rows, sorted: `length`, half of it, a quarter ..."""
    return np.unique([-(-length // 2**halvings) for halvings in range(buckets)])


def bucket(lengths, ends, items):
    """The shortest length that holds each of the items."""
    longest = np.max(ends[items + 1] - ends[items], initial=0)
    return int(lengths[np.searchsorted(lengths, longest)])


def kept(store, name, compute):
    """An array computed once and memory-mapped from a file in the store's folder."""
    path = os.path.join(store.folder, f"{name}.npy")
    if not os.path.exists(path):
        temporary = f"{path}.tmp-{os.getpid()}.npy"
        np.save(temporary, compute())
        os.replace(temporary, path)
    return np.load(path, mmap_mode="r").view(np.ndarray)
