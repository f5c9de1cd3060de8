"""Experiment: what a recipe says that training, evaluation and export all need."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from typing import Any, Literal

import gin
import keras
import tensorflow as tf

from trainers import adaptation, ranges, strategies
from trainers.checkpoints import Checkpoints
from trainers.data import store, tokenizers
from trainers.data.batches import windows
from trainers.data.example_batches import check_fits
from trainers.errors import UserError
from trainers.train_state import restore_mean


@gin.configurable
@dataclasses.dataclass
class Experiment:
    """A model, a task, and how text becomes batches.

    Attributes:
      model: function of `vocabulary_size` to a zoo.LanguageModel.
      task: see data/tasks.py.
      batches: a batch plan's function, see data/batches.py.
      batch_size: examples or rows in a global step.
      batch_tokens: where set, gives `batch_size`: as many rows as have no more tokens than this,
        padding included, on the side where they are longer; of more than 8, a multiple of 8 that
        replicas and micro-batches can divide.
      sequence_length: tokens of a row of the decoder.
      source_length: tokens of a row of the encoder; None for `sequence_length`.
      evaluation_batch_size: rows in a step of evaluation; None for `batch_size`.
      tokenizer: kind, or the folder of a saved one; see data/tokenizers.py.
      vocabulary_size: ids of a tokenizer that is learned.
      seed: of initialisation, data order and dropout.
      strategy, cpu_replicas, cluster, communication, tpu: see `strategies.make_strategy`.
      precision: Keras' dtype policy.
      subword_sampling: None, or how training cuts texts otherwise in every epoch; see
        data/subword_sampling.py.
      adaptation: None, or what of the model learns in place of all its weights; see adaptation.py.
      checkpoint: what evaluation and export take: the "newest" or the "best" one, or the mean of
        the weights of several, "average_of_newest" or "average_of_best"; where training keeps
        averages of its weights, the mean of those.
      averaged_checkpoints: how many that mean is of.
      max_length: the most tokens of prompt and answer together in an export; None for the
        longer of `sequence_length` and `source_length`.
      data_dir: folder of token stores, which runs may share; None for one in the model_dir.

    Raises:
      UserError: a number out of its range, see ranges.py.
    """

    model: Callable
    task: Any
    batch_size: int
    sequence_length: int
    batches: Callable = windows
    batch_tokens: int | None = None
    source_length: int | None = None
    evaluation_batch_size: int | None = None
    tokenizer: str = "bytes"
    vocabulary_size: int | None = None
    seed: int = 0
    strategy: Literal["one_device", "mirrored", "multi_worker", "tpu"] = "one_device"
    cpu_replicas: int = 1
    cluster: Literal["tf_config", "slurm", "kubernetes"] = "tf_config"
    communication: Literal["auto", "ring", "nccl", "hierarchical"] = "auto"
    tpu: str = "local"
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    subword_sampling: Any = None
    adaptation: Any = None
    checkpoint: Literal["newest", "best", "average_of_newest", "average_of_best"] = "newest"
    averaged_checkpoints: int = 5
    max_length: int | None = None
    data_dir: str | None = None

    def __post_init__(self):
        if self.batch_tokens is not None:
            length = max(self.sequence_length, self.source_length or 1)
            rows = self.batch_tokens // length
            if rows < 1:
                raise UserError(f"BATCH_TOKENS = {self.batch_tokens}: a row alone has {length}")
            self.batch_size = rows - rows % 8 if rows > 8 else rows
        ranges.check(ranges.EXPERIMENT, vars(self))

    def begin(self, directory):
        """Sets devices and precision, before anything else touches TensorFlow's devices.

        Args:
          directory: the ModelDir, which may hold a run to go on with.

        Returns:
          the tf.distribute.Strategy.

        Raises:
          UserError: files that are missing.
        """
        if os.path.isdir(directory.checkpoints) and os.listdir(directory.checkpoints):
            self.task = self.task.kept(directory)
        self.task.check()
        if self.subword_sampling:
            if self.task.pairs:
                raise UserError(
                    "Experiment.subword_sampling: the reference model has read pairs cut one way; "
                    "leave it out"
                )
            self.subword_sampling.check(self.tokenizer)
        strategy = strategies.make_strategy(
            self.strategy, self.cpu_replicas, self.cluster, self.communication, self.tpu
        )
        keras.config.set_dtype_policy(self.precision)
        return strategy

    def check_shared(self, strategy, accumulation=None):
        """Raises UserError where replicas and micro-batches cannot share the rows of a batch equally.

        Args:
          strategy: from `begin`.
          accumulation: micro-batches of a training step; None where nothing is trained.
        """
        replicas = strategy.num_replicas_in_sync
        evaluated = self.evaluation_batch_size
        if (accumulation or not evaluated) and self.batch_size % (replicas * (accumulation or 1)):
            rows = f"BATCH_SIZE = {self.batch_size}:"
            if self.batch_tokens is not None:
                rows = f"BATCH_TOKENS = {self.batch_tokens}: its {self.batch_size} rows"
            shares = f"replicas times ACCUMULATION, {replicas} x {accumulation}"
            shares = shares if accumulation else f"the {replicas} replicas"
            raise UserError(f"{rows} must be a multiple of {shares}")
        if evaluated and evaluated % replicas:
            raise UserError(
                f"Experiment.evaluation_batch_size = {evaluated}: must be a multiple of the "
                f"{replicas} replicas"
            )

    def make(self, directory, strategy, anew):
        """(model, tokenizer) to train; `anew`: the tokenizer is learned, but where the one that is
        kept was learned from the same."""
        if anew and strategies.is_chief(strategy):
            self.learn_tokenizer(directory)
            self.task.keep(directory)
        strategies.wait_for_all(strategy)
        tokenizer = tokenizers.load(directory.tokenizer)
        self.task = self.task.kept(directory).read_by(tokenizer)
        with strategy.scope():
            return self.make_model(tokenizer), tokenizer

    def learn_tokenizer(self, directory):
        task, kind, size = self.task, self.tokenizer, self.vocabulary_size
        source = repr((kind, size, task.special_tokens, task.fingerprint("train")))
        source = hashlib.sha256(source.encode()).hexdigest()
        is_learned = kind in tokenizers.KINDS  # and not read from a folder
        if is_learned and tokenizers.learned_from(directory.tokenizer) == source:
            return
        texts = task.texts("train")
        learned = tokenizers.train_tokenizer(kind, texts, size, special_tokens=task.special_tokens)
        learned.save(directory.tokenizer, source)

    def load(self, directory, strategy=None):
        """(model, tokenizer, steps) as trained: the weights are the mean of those at `steps`, with
        low-rank updates added to them.

        Raises:
          UserError: nothing has been trained in the model_dir, or there are fewer checkpoints
            than are averaged.
        """
        saved = Checkpoints(directory.checkpoints)
        if self.averages:
            steps = saved.choose_several(self.averages, self.averaged_checkpoints)
        else:
            steps = [saved.choose(self.checkpoint)]
        strategy = strategy or tf.distribute.get_strategy()
        model, tokenizer = self.make(directory, strategy, anew=False)
        restore_mean(model, [saved.path(step) for step in steps])
        adaptation.merge(model)
        return model, tokenizer, steps

    @property
    def averages(self):
        """Which checkpoints are averaged, "newest" or "best"; None for none."""
        return {"average_of_newest": "newest", "average_of_best": "best"}.get(self.checkpoint)

    def check_averaged(self, newest, best, what):
        """Raises UserError where there will be fewer checkpoints than are averaged.

        Args:
          newest, best: how many there will be.
          what: names of the settings that say so, for the message.
        """
        there = {"newest": newest, "best": best}.get(self.averages, self.averaged_checkpoints)
        if there < self.averaged_checkpoints:
            raise UserError(
                f"Experiment.averaged_checkpoints = {self.averaged_checkpoints}: training leaves "
                f"only {there} to choose from; average fewer, or change {what}"
            )

    def make_model(self, tokenizer):
        """The model as it is before training, the same for the same seed."""
        keras.utils.set_random_seed(self.seed)
        model = self.model(vocabulary_size=tokenizer.vocabulary_size)
        lengths = {
            "SEQUENCE_LENGTH": self.sequence_length,
            "SOURCE_LENGTH": self.source_length if model.reads_source else None,
            "Experiment.max_length": self.max_length,
        }
        for name, length in lengths.items():
            if model.context_length and length and length > model.context_length:
                raise UserError(
                    f"{name} = {length}: {type(model).__name__}.context_length has only "
                    f"{model.context_length} positions; raise it, or choose rotary positions"
                )
        if self.adaptation:
            self.adaptation.apply(model)
        return model

    def make_plan(self, split, model, tokenizer, directory, training=False):
        """The batches of a split, its token store made where there is none."""
        if split not in self.task.splits:
            known = ", ".join(self.task.splits)
            hint = f", or set {split.upper()}_FILES" if split in ("validation", "test") else ""
            raise UserError(f"the data has no {split} split; choose one of {known}{hint}")
        batch_size = self.batch_size
        if not training and self.evaluation_batch_size:
            batch_size = self.evaluation_batch_size

        def make(task):
            task = task.for_model(model.reads_source)
            check_fits(self.batches, task.kind, model)

            def plan_of(tokenizer):
                return self.batches(
                    store.build_store(task, split, tokenizer, self.data_dir or directory.data),
                    batch_size=batch_size,
                    sequence_length=self.sequence_length,
                    seed=self.seed,
                    source_length=self.longest_source if model.reads_source else None,
                    training=training,
                )

            if training and self.subword_sampling:
                return self.subword_sampling.plan(plan_of, tokenizer)
            return plan_of(tokenizer)

        return self.task.make_plan(split, make)

    @property
    def longest_source(self):
        return self.source_length or self.sequence_length
