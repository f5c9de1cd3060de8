"""Texts cut otherwise in every epoch of training, so that a model knows more than one spelling.

A store is tokenized once. So the training split is tokenized into several stores, each under a
seed of its own, and one epoch after another reads the next of them: a batch stays a function of
the step, and a run that goes on finds the tokens that it left. Disk and the time to tokenize grow
with the number of copies, and a copy has more tokens than the split as it is. Evaluation and
exports never sample.
"""

import dataclasses
import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import gin
import numpy as np

from trainers.data.batches import Plan
from trainers.data.merges import merge_table
from trainers.data.tokenizers import KINDS
from trainers.errors import UserError

BLOCK_TOKENS = 1 << 15  # bytes of text whose merges are made together; fits a cache


@dataclasses.dataclass(frozen=True)
class SubwordSampling:
    """What the ways to sample share. Subclasses give `kinds`, `description` and `encode_batch`.

    Attributes:
      copies: stores that epochs take turns with.
      kinds: of the tokenizers that can be sampled from like this.
      description: of what the tokens depend on beside text, tokenizer and seed.
    """

    copies: int = dataclasses.field(default=4, kw_only=True)

    kinds: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        if self.copies < 1:
            raise UserError(f"{type(self).__name__}.copies = {self.copies}: must be at least 1")

    def check(self, kind):
        """Raises UserError where tokenizers of a kind cannot be sampled from."""
        if kind in KINDS and kind not in self.kinds:
            raise UserError(
                f"Experiment.subword_sampling = @{type(self).__name__}(): TOKENIZER is {kind!r} and "
                f"must be {' or '.join(map(repr, self.kinds))}"
            )

    def plan(self, plan_of, tokenizer):
        """The plan of a training split, of what the function `plan_of` makes with a tokenizer."""
        self.check(tokenizer.kind)
        seeds = range(self.copies)
        return Alternating([plan_of(SampledTokenizer(tokenizer, self, seed)) for seed in seeds])

    @property
    def description(self) -> str:
        raise NotImplementedError

    def encode_batch(self, tokenizer, texts, seed):
        """list of int32 [T]: as of Tokenizer.encode_batch, in a process a function of its arguments."""
        raise NotImplementedError


@gin.configurable
@dataclasses.dataclass(frozen=True)
class BpeDropout(SubwordSampling):
    """Each merge that is possible is passed over with some probability (Provilkov et al. 2020).

    Attributes:
      rate: the probability. 1 would leave characters.
      copies: see SubwordSampling.
    """

    rate: float = 0.1

    kinds: ClassVar[tuple[str, ...]] = ("bpe", "sentencepiece_bpe")

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.rate <= 1:
            raise UserError(f"BpeDropout.rate = {self.rate}: must be from 0 to 1")

    @property
    def description(self):
        return f"BPE dropout {self.rate}"

    def encode_batch(self, tokenizer, texts, seed):
        if tokenizer.kind == "bpe":
            return with_dropout(tokenizer, texts, self.rate, seed)
        return sampled(tokenizer, texts, self.rate, seed)


@gin.configurable
@dataclasses.dataclass(frozen=True)
class UnigramSampling(SubwordSampling):
    """Draws from all segmentations of a text, by their probabilities (Kudo 2018).

    Attributes:
      alpha: power of the probabilities; towards 0 all segmentations become alike.
      copies: see SubwordSampling.
    """

    alpha: float = 0.2

    kinds: ClassVar[tuple[str, ...]] = ("unigram",)

    def __post_init__(self):
        super().__post_init__()
        if self.alpha < 0:
            raise UserError(f"UnigramSampling.alpha = {self.alpha}: must not be negative")

    @property
    def description(self):
        return f"unigram sampling {self.alpha}"

    def encode_batch(self, tokenizer, texts, seed):
        return sampled(tokenizer, texts, self.alpha, seed)


class SampledTokenizer:
    """A tokenizer as a store takes it, that cuts texts otherwise for each seed.

    Args:
      tokenizer: see tokenizers.py.
      sampling: SubwordSampling.
      seed: int.
    """

    def __init__(self, tokenizer, sampling, seed):
        self.tokenizer = tokenizer
        self.sampling = sampling
        self.seed = seed
        self.kind = tokenizer.kind
        self.leading_space = tokenizer.leading_space
        self.reads_answers_apart = tokenizer.reads_answers_apart
        self.vocabulary_size = tokenizer.vocabulary_size
        name = f"{tokenizer.fingerprint} {sampling.description} {seed}"
        self.fingerprint = hashlib.sha256(name.encode()).hexdigest()

    def encode_batch(self, texts):
        # The texts are a part of the seed, so that tokens do not depend on what was asked before.
        digest = hashlib.sha256("\0".join([str(self.seed), *texts]).encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        return self.sampling.encode_batch(self.tokenizer, texts, seed)


class Alternating(Plan):
    """Training epochs that read one plan after another, all of the same text.

    The plans' epochs are of unequal numbers of steps; `steps_per_epoch` is their mean.
    """

    def __init__(self, plans):
        first = plans[0]
        super().__init__(
            first.store, first.batch_size, first.sequence_length, first.seed, first.source_length
        )
        self.plans = plans
        self.ends = np.cumsum([plan.steps_per_epoch for plan in plans])
        self.rows_per_epoch = -(-sum(plan.rows_per_epoch for plan in plans) // len(plans))

    @property
    def feature_shapes(self):
        return self.plans[0].feature_shapes

    def batch(self, step, shard=0, num_shards=1):
        cycle, step = divmod(step, int(self.ends[-1]))
        copy = int(np.searchsorted(self.ends, step, "right"))
        plan = self.plans[copy]
        step -= int(self.ends[copy]) - plan.steps_per_epoch
        return plan.batch(cycle * plan.steps_per_epoch + step, shard, num_shards)


def with_dropout(tokenizer, texts, rate, seed):
    """BPE dropout of a byte_pair.BytePairTokenizer, of all words of a block at once.

    `tokenizers` has it too, but draws from what cannot be seeded.
    """
    ids, words, counts = tokenizer.bytes_of_words(texts)
    text_of_word = np.repeat(np.arange(len(texts)), counts)
    draw = np.random.default_rng(seed)
    starts = np.flatnonzero(np.diff(words, prepend=-1))
    cuts = starts[np.searchsorted(starts, np.arange(BLOCK_TOKENS, len(ids), BLOCK_TOKENS)) - 1]
    edges = np.unique([0, *cuts, len(ids)])
    size, table = (
        tokenizer.vocabulary_size,
        merge_table(tokenizer.merge_ids(), tokenizer.vocabulary_size),
    )
    blocks = [
        merged_words(ids[first:last], words[first:last], size, *table, rate, draw)
        for first, last in itertools.pairwise(edges)
    ]
    if not blocks:
        return [np.zeros(0, np.int32) for _ in texts]
    ids, words = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    lengths = np.bincount(text_of_word[words], minlength=len(texts))
    return np.split(ids.astype(np.int32), np.cumsum(lengths)[:-1])


def merged_words(ids, words, size, pairs, ranks, merged, rate, draw):
    """The tokens that are left of words when no pair in them merges any more.

    In turn, of the pairs of a word that have a merge and are not passed over this time, the
    first of those that rank lowest merges.

    Args:
      ids: int64 [M], tokens to begin with.
      words: int64 [M], ascending, the word that each is of.
      size: number of ids.
      pairs, ranks, merged: see merges.merge_table.
      rate: probability that a pair is passed over, each time anew.
      draw: numpy Generator.

    Returns:
      (ids, words) of fewer tokens.
    """
    none = len(merged) - 1
    done = []
    while len(ids):
        pair = ids[:-1] * size + ids[1:]
        place = np.searchsorted(pairs, pair)
        rank = np.where(pairs[place] == pair, ranks[place], none)
        rank[words[:-1] != words[1:]] = none
        rank[draw.random(len(rank)) < rate] = none
        rank = np.append(rank, none)
        starts = np.flatnonzero(np.diff(words, prepend=-1))
        best = np.minimum.reduceat(rank, starts)
        best_of_word = np.repeat(best, np.diff(starts, append=len(ids)))
        here = np.where(rank == best_of_word, np.arange(len(ids)), len(ids))
        merges = best < none
        first = np.minimum.reduceat(here, starts)[merges]
        keep = best_of_word < none
        done.append((ids[~keep], words[~keep]))
        ids[first] = merged[best[merges]]
        keep[first + 1] = False
        ids, words = ids[keep], words[keep]
    ids, words = (np.concatenate(parts) for parts in zip(*done, strict=True))
    order = np.argsort(words, kind="stable")
    return ids[order], words[order]


def sampled(tokenizer, texts, alpha, seed):
    """SentencePiece's own sampling, of a sentence_piece.SentencePieceTokenizer.

    Under one seed SentencePiece 0.2.3 draws the same in a process, and otherwise in the next: what a
    run has learned from is in its stores, and cannot be made again.
    """

    def encode():
        import sentencepiece

        sentencepiece.set_random_generator_seed(seed)
        return [tokenizer.sample(text, alpha) for text in texts]

    # Each thread has a generator of its own, which a new thread begins with the seed.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(encode).result()
