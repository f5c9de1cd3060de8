"""train() and evaluate(): from an experiment to a model_dir, readable from top to bottom."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Literal

import gin
import keras
import numpy as np
import tensorflow as tf

from trainers import checkpoints, config, metrics, optimizers, schedules
from trainers.callbacks import metrics_file, progress, tensorboard
from trainers.data.pipeline import dataset
from trainers.errors import UserError
from trainers.export import export, text_settings
from trainers.losses import CrossEntropy
from trainers.model_dir import ModelDir
from trainers.step import TrainStep
from trainers.text_model import TextModel
from trainers.throughput import Throughput
from trainers.xla import use_xla


@gin.configurable(denylist=["experiment", "model_dir"])
def train(
    experiment,
    model_dir,
    learning_rate: float,
    steps: int | None = None,
    epochs: float | None = None,
    optimizer: Callable = keras.optimizers.AdamW,
    schedule: Callable = schedules.warmup_cosine,
    objective: Callable = CrossEntropy,
    loss_per: Literal["token", "row"] = "token",
    clip_norm: float = 1.0,
    accumulation: int = 1,
    weight_decay_exclude: Sequence[str] = ("bias", "norm"),
    ema_decay: float = 0.0,
    xla: bool | Literal["auto"] = "auto",
    report_every_steps: int = 50,
    evaluate_every_steps: int | None = None,
    checkpoint_every_steps: int | None = None,
    keep_checkpoints: int = 3,
    best_metric: str = "val_loss",
    initial_checkpoint: str | None = None,
    callbacks: Sequence[Callable] = (),
    export_at_end: bool = True,
):
    """Trains a model, evaluates it on the way, and exports it; goes on with what is there.

    A checkpoint follows every evaluation, and `checkpoint_every_steps` sets more. A run
    that was stopped anywhere and started again equals one that never was, bit for bit.

    Args:
      experiment: see experiment.py.
      model_dir: path of the run.
      learning_rate: the schedule's peak.
      steps: optimizer steps in all; or, where None,
      epochs: times that the training split is read.
      optimizer: function of `learning_rate` to a Keras optimizer.
      schedule: see schedules.py.
      objective: function to a training objective; see losses.py.
      loss_per: whether gradients are of the mean loss of a token, or of a row's summed loss as
        in papers on LSTMs.
      clip_norm: largest global norm of the gradient; 0 for no clipping.
      accumulation: micro-batches that a replica's part of a batch is divided into.
      weight_decay_exclude: regular expressions of paths of variables that do not decay.
      ema_decay: of an average of the weights, which evaluation and export then use; 0 for none.
      xla: compile with XLA; "auto" where it pays.
      report_every_steps: steps between reports.
      evaluate_every_steps: steps between evaluations; None for once an epoch. The last step
        is always followed by one.
      checkpoint_every_steps: steps between checkpoints; None for those of evaluations alone.
      keep_checkpoints: how many of the newest are kept, beside the best.
      best_metric: name of the metric whose least value marks the best checkpoint.
      initial_checkpoint: model_dir or checkpoint whose weights a new run begins with.
      callbacks: functions to further Keras callbacks; see callbacks/.
      export_at_end: whether to export the model when it is trained.

    Raises:
      UserError: what is wrong, before training begins; or a loss that is no number.
    """
    directory = ModelDir(model_dir)
    with directory.locked():
        strategy = experiment.begin()
        saved = checkpoints.Checkpoints(directory.checkpoints, keep_checkpoints, best_metric)
        newest = saved.newest_sound()
        model, tokenizer = experiment.make(directory, strategy, anew=newest is None)
        plan = experiment.make_plan("train", model, tokenizer, directory, training=True)
        evaluation = None
        if "validation" in experiment.task.splits:
            held_out = experiment.make_plan("validation", model, tokenizer, directory)
            evaluation = metrics.Evaluation(model, held_out, strategy, use_xla(xla))
        steps = steps_of(steps, epochs, plan)
        with strategy.scope():
            rate = schedule(steps=steps, steps_per_epoch=plan.steps_per_epoch, peak=learning_rate)
            model.optimizer = optimizers.prepare(
                optimizer(learning_rate=rate), model.trainable_variables, weight_decay_exclude
            )
        step = TrainStep(
            model,
            model.optimizer,
            objective(),
            strategy,
            rows=experiment.batch_size,
            accumulation=accumulation,
            clip_norm=clip_norm,
            ema_decay=ema_decay,
            seed=experiment.seed,
            xla=use_xla(xla),
            loss_per=loss_per,
        )
        state = checkpoints.TrainState(step)
        now = begin_from(state, saved, newest, initial_checkpoint)
        if now >= steps:
            print(f"{model_dir}: is trained for its {now:,} steps already; a higher STEPS goes on")
        config.save(model_dir)

        watching = watch(experiment, directory, model, tokenizer, now, steps, callbacks)
        throughput = Throughput(flops_of_step(model, plan), model, strategy)
        batches = Batches(step, dataset(plan, now, strategy=strategy))
        evaluate_every = evaluate_every_steps or plan.steps_per_epoch
        periods = report_every_steps, evaluate_every, checkpoint_every_steps or evaluate_every

        watching.on_train_begin()
        watching.on_epoch_begin(now // evaluate_every)
        while now < steps and not model.stop_training:
            count = min(steps - now, *(period - now % period for period in periods))
            watching.on_train_batch_begin(now)
            results = batches.run(count, throughput)
            now += count
            logs = report(results, plan, model.optimizer) | throughput.report()
            if not np.isfinite(logs["loss"]):
                raise UserError(
                    f"step {now}: the loss is {logs['loss']}; checkpoints up to step "
                    f"{saved.newest()} are whole. Lower LEARNING_RATE, or warm up for longer"
                )
            watching.on_train_batch_end(now, logs)
            evaluated = {}
            if now % evaluate_every == 0 or now == steps:
                with step.averaged():
                    if evaluation:
                        evaluated = {f"val_{k}": v for k, v in evaluation.run().items()}
                    watching.on_epoch_end((now - 1) // evaluate_every, logs | evaluated)
                watching.on_epoch_begin(now // evaluate_every)
            if evaluated or now % periods[-1] == 0 or now == steps or model.stop_training:
                saved.save(state, now, evaluated)
        watching.on_train_end()
        if export_at_end and not is_exported(directory, saved):
            export(experiment, model_dir)


def evaluate(experiment, model_dir, split):
    """Measures a trained model on a split; prints the figures and adds them to metrics.jsonl.

    Args:
      experiment: see experiment.py.
      model_dir: path of the run.
      split: "train", "validation" or "test".

    Returns:
      {name: float}, see metrics.Evaluation.

    Raises:
      UserError: there is no checkpoint, or no such split.
    """
    directory = ModelDir(model_dir)
    strategy = experiment.begin()
    model, tokenizer, step = experiment.load(directory, strategy)
    plan = experiment.make_plan(split, model, tokenizer, directory)
    found = metrics.Evaluation(model, plan, strategy, use_xla("auto")).run()
    print(f"{split}, step {step:,}: " + ", ".join(f"{k} {v:,.6g}" for k, v in found.items()))
    known = {(line["step"], line["split"]) for line in metrics_file.read(directory.metrics)}
    if (step, split) not in known:
        metrics_file.append(directory.metrics, {"step": step, "split": split, **found})
    return found


class Batches:
    """Feeds batches to a train step, whose first run compiles it."""

    def __init__(self, step, batches):
        self.step = step
        self.batches = batches
        self.iterator = None

    def run(self, count, throughput):
        """`count` steps, timed without the very first; float32 [count, 3] as of TrainStep.run."""
        results = []
        if self.iterator is None:
            results.append(self.compiling_step())
            count -= 1
        if count:
            results.append(throughput.measure(lambda: self.step.run(self.iterator, count)))
        return np.concatenate(results)

    def compiling_step(self):
        """One step, with XLA if it can be."""
        try:
            self.iterator = iter(self.batches)
            return self.step.run(self.iterator, 1)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if not self.step.xla:
                raise
            reason = str(error).strip().split("\n")[0]
            print(f"XLA cannot compile this step, so it runs without: {reason}", file=sys.stderr)
            self.step.compile(xla=False)
            self.iterator = iter(self.batches)
            return self.step.run(self.iterator, 1)


def begin_from(state, saved, newest, initial_checkpoint):
    """Restores what there is, in this order, and says so; returns the step to go on from.

    1. the newest sound checkpoint of the model_dir;
    2. the weights of `initial_checkpoint`;
    3. nothing: the model is as it was made.
    """
    if newest is not None:
        state.read(saved.path(newest))
        print(f"goes on from {saved.path(newest)}")
        return newest
    if initial_checkpoint:
        path = checkpoints.find(initial_checkpoint)
        checkpoints.restore_weights(state.model, path)
        state.reset_averages()
        print(f"begins at step 0 with the weights of {path}")
    else:
        print("begins at step 0 from scratch")
    return 0


def watch(experiment, directory, model, tokenizer, now, steps, callbacks):
    """The callbacks of a run that goes on from step `now`, ours before the user's."""
    board = tensorboard.TensorBoard(directory.tensorboard, now)
    ours = [
        metrics_file.MetricsFile(directory.metrics, now),
        board,
        progress.Progress(now, steps),
    ]
    model.stop_training = False
    return keras.callbacks.CallbackList(
        [*ours, *(callback() for callback in callbacks)],
        model=model,
        steps=steps,
        tensorboard=board,
        make_text_model=lambda: TextModel(model, tokenizer, **text_settings(experiment, model)),
    )


def report(results, plan, optimizer):
    """Logs of the steps since the last report.

    Args:
      results: float32 [N, 3], see TrainStep.run.
    """
    loss, tokens, _ = np.sum(results, axis=0, dtype=np.float64)
    loss = loss / tokens if tokens else 0.0
    return {
        "loss": loss,
        "perplexity": metrics.perplexity(loss),
        "bits_per_byte": metrics.bits_per_byte(loss, plan.store.meta),
        "gradient_norm": float(results[-1, 2]),
        "learning_rate": float(optimizer.learning_rate),
        "tokens": int(tokens),
    }


def steps_of(steps, epochs, plan):
    if steps is None and epochs is None:
        raise UserError("train.steps or train.epochs must be set: how long to train")
    return max(round(epochs * plan.steps_per_epoch), 1) if steps is None else steps


def is_exported(directory, saved):
    """Whether the export is of the newest checkpoint or later."""
    exported = os.path.join(directory.export, "saved_model.pb")
    newest = os.path.join(saved.path(saved.newest()), checkpoints.META)
    return os.path.exists(exported) and os.path.getmtime(exported) >= os.path.getmtime(newest)


def flops_of_step(model, plan):
    lengths = plan.sequence_length, plan.source_length or 0
    return model.train_flops_per_token(*lengths) * plan.batch_size * plan.sequence_length
