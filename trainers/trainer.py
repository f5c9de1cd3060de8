"""train() and evaluate(): from an experiment to a model_dir, readable from top to bottom."""

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from typing import Literal

import gin
import keras

from trainers import (
    checkpoints,
    config,
    decoded,
    optimizers,
    ranges,
    reference,
    schedules,
    strategies,
)
from trainers.adaptation import freeze, scale_rates
from trainers.callbacks import metrics_file, tensorboard
from trainers.callbacks.decoded_evaluation import DecodedEvaluation
from trainers.callbacks.watching import check_best_metric, check_callbacks, watch
from trainers.errors import UserError
from trainers.export import export, text_settings
from trainers.feed import Feed
from trainers.hugging_face.folder import is_checkpoint
from trainers.hugging_face.load import read_weights
from trainers.interruption import Interruption
from trainers.loop import Loop
from trainers.losses import CrossEntropy
from trainers.memory import check_run
from trainers.model_dir import ModelDir
from trainers.preferences import evaluation_of
from trainers.recovery import Recovery
from trainers.step import TrainStep
from trainers.text_model import TextModel
from trainers.throughput import Throughput
from trainers.train_state import TrainState, restore_weights
from trainers.xla import use_xla


@gin.configurable(denylist=["experiment", "model_dir"])
def train(
    experiment,
    model_dir,
    learning_rate: float,
    steps: int | None = None,
    epochs: float | None = None,
    tokens: float | None = None,
    max_seconds: float | None = None,
    optimizer: Callable = keras.optimizers.AdamW,
    schedule: Callable = schedules.warmup_cosine,
    objective: Callable = CrossEntropy,
    loss_per: Literal["token", "row"] = "token",
    clip_norm: float = 1.0,
    accumulation: int = 1,
    weight_decay_exclude: Sequence[str] = ("bias", "norm"),
    frozen: Sequence[str] = (),
    learning_rate_scales: dict[str, float] | None = None,
    ema_decay: float = 0.0,
    xla: bool | Literal["auto"] = "auto",
    report_every_steps: int = 50,
    evaluate_every_steps: int | None = None,
    checkpoint_every_steps: int | None = None,
    keep_checkpoints: int = 3,
    keep_best_checkpoints: int = 1,
    best_metric: str = "val_loss",
    recovery: Callable = Recovery,
    initial_checkpoint: str | None = None,
    callbacks: Sequence[Callable] = (),
    check_memory: bool = True,
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
      epochs: times that the training split is read; or, where that is None too,
      tokens: target tokens to train on, to the nearest whole step of the split's mean.
      max_seconds: wall-clock time from the start of the process, before whose end the run saves
        and stops; None for no limit.
      optimizer: function of `learning_rate` to a Keras optimizer.
      schedule: see schedules.py.
      objective: function to a training objective; see losses.py and preferences.py.
      loss_per: whether gradients are of the mean loss of a token, or of a row's summed loss as
        in papers on LSTMs.
      clip_norm: largest global norm of the gradient; 0 for no clipping.
      accumulation: micro-batches that a replica's part of a batch is divided into.
      weight_decay_exclude: regular expressions of paths of variables that do not decay.
      frozen: regular expressions of paths of variables that do not learn.
      learning_rate_scales: {regular expression of paths: factor of the learning rate}, the first that
        matches. Of weight decay only Muon.adam_weight_decay is scaled with it.
      ema_decay: of an average of the weights, which evaluation and export then use; 0 for none.
      xla: compile with XLA; "auto" where it pays.
      report_every_steps: steps between reports.
      evaluate_every_steps: steps between evaluations; None for once an epoch. The last step
        is always followed by one.
      checkpoint_every_steps: steps between checkpoints; None for those of evaluations alone.
      keep_checkpoints: how many of the newest are kept.
      keep_best_checkpoints: how many of the best are kept beside them.
      best_metric: name of the figure whose best value marks the best checkpoint, with "val_".
      recovery: function to a Recovery: what is done about a loss or a gradient that is no number.
      initial_checkpoint: model_dir or checkpoint whose weights a new run begins with; or one of
        Transformers, a folder with config.json and model.safetensors; or a preset of KerasHub.
      callbacks: functions to further Keras callbacks; see callbacks/.
      check_memory: whether to refuse what clearly needs more memory than there is.
      export_at_end: whether to export the model when it is trained.

    Raises:
      UserError: what is wrong, before training begins; or a loss or a gradient that is no number
        for all that was tried.
      Interrupted: by a signal, the end of max_seconds or the loss of a worker, what there was
        being saved.
    """
    ranges.check(ranges.TRAIN, locals())
    directory = ModelDir(model_dir)
    keep = keep_checkpoints, keep_best_checkpoints
    experiment.check_averaged(*keep, "train.keep_checkpoints or train.keep_best_checkpoints")
    with contextlib.ExitStack() as held:
        interruption = held.enter_context(Interruption(max_seconds))
        strategy = experiment.begin(directory)
        experiment.check_shared(strategy, accumulation)
        held.enter_context(strategies.worker_losses(strategy))
        chief = strategies.is_chief(strategy)
        watchers = [callback() for callback in callbacks]
        check_callbacks(watchers)
        check_best_metric(best_metric, watchers, experiment.task)
        made_objective = objective()
        made_objective.check(experiment.task)
        if chief:
            held.enter_context(directory.locked())
        saved = checkpoints.Checkpoints(
            directory.checkpoints, keep_checkpoints, best_metric, chief, keep_best_checkpoints
        )
        newest = saved.newest_sound()
        if not strategies.all_agree(strategy, -1 if newest is None else newest):
            raise UserError(f"{model_dir}: workers see other checkpoints in it; it must be shared")
        saved.set_aside(newest)
        model, tokenizer = experiment.make(directory, strategy, anew=newest is None)
        freeze(model, frozen)
        optimizers.check_excluded(weight_decay_exclude, model.weights)
        if check_memory:
            of_a_step = accumulation, ema_decay > 0, use_xla(xla, "float32")
            rule = optimizer(learning_rate=learning_rate)
            check_run(experiment, model, rule, strategy, *of_a_step)
        plan = experiment.make_plan("train", model, tokenizer, directory, training=True)
        evaluation, held_out = None, None
        if "validation" in experiment.task.splits:
            held_out = experiment.make_plan("validation", model, tokenizer, directory)
            evaluation = evaluation_of(experiment.task)(model, held_out, strategy, use_xla(xla))
        steps = steps_of(steps, epochs, tokens, plan)
        evaluate_every = evaluate_every_steps or plan.steps_per_epoch
        checkpoint_every = checkpoint_every_steps or evaluate_every
        if export_at_end:
            evaluated = {*range(evaluate_every, steps, evaluate_every), steps}
            made = evaluated | {*range(checkpoint_every, steps, checkpoint_every)}
            experiment.check_averaged(
                len(made),
                len(evaluated) if evaluation else 0,
                "STEPS, EVAL_EVERY or CHECKPOINT_EVERY",
            )
        with strategy.scope():
            rate = schedule(steps=steps, steps_per_epoch=plan.steps_per_epoch, peak=learning_rate)
            model.optimizer = optimizers.prepare(
                optimizer(learning_rate=rate), model.trainable_variables, weight_decay_exclude
            )
            scale_rates(model.optimizer, model.trainable_variables, learning_rate_scales or {})
        share = plan.share_counted()
        step = TrainStep(
            model,
            model.optimizer,
            made_objective,
            strategy,
            rows=experiment.batch_size,
            accumulation=accumulation,
            clip_norm=clip_norm,
            ema_decay=ema_decay,
            seed=experiment.seed,
            xla=use_xla(xla),
            xla_parts=use_xla(xla, "float32"),
            loss_per=loss_per,
            row_tokens=experiment.sequence_length,
            share=share,
        )
        state = TrainState(step)
        new_tokens = tokenizer.vocabulary_size - tokenizer.plain.vocabulary_size
        now = begin_from(state, saved, newest, initial_checkpoint, new_tokens)
        if experiment.task.pairs:
            if newest is None:
                reference.keep(experiment, model, tokenizer, directory, strategy, use_xla(xla))
            for each in filter(None, (plan, held_out)):
                reference.give(each, directory)
        notes = saved.notes(newest)
        if now >= steps:
            print(f"{model_dir}: is trained for its {now:,} steps already; a higher STEPS goes on")
        if chief:
            config.save(model_dir)
        make_text_model = functools.partial(text_model_of, experiment, model, tokenizer)
        Loop(
            state,
            saved,
            Feed(step, plan, now, notes.get("skipped", [])),
            evaluation,
            watch(
                directory,
                model,
                now,
                steps,
                notes,
                watchers,
                strategy,
                experiment.task,
                make_text_model,
            ),
            Throughput(flops_of_step(model, plan, share), model, strategy, made_objective.unit),
            recovery(),
            interruption,
            notes,
            now=now,
            steps=steps,
            report_every=report_every_steps,
            evaluate_every=evaluate_every,
            checkpoint_every=checkpoint_every,
        ).run()
        interruption.wait_no_more()
        if chief and export_at_end and not is_exported(directory, saved):
            export(experiment, model_dir)
        strategies.wait_for_all(strategy)


def evaluate(experiment, model_dir, split):
    """Measures a trained model on a split; prints the figures and adds them to metrics.jsonl.

    Where the task names metrics, answers are decoded as `DecodedEvaluation` is set to, and kept in
    the model_dir.

    Args:
      experiment: see experiment.py.
      model_dir: path of the run.
      split: "train", "validation" or "test".

    Returns:
      {name: float}, see metrics.Evaluation and text_metrics.

    Raises:
      UserError: there is no checkpoint, or no such split.
    """
    directory = ModelDir(model_dir)
    strategy = experiment.begin(directory)
    experiment.check_shared(strategy)
    task = experiment.task
    answers_are_scored = split in task.splits and bool(decoded.figure_names(task, split))
    if answers_are_scored:
        decoded.check(task, split)
    model, tokenizer, steps = experiment.load(directory, strategy)
    task = experiment.task  # as the tokenizer reads it
    plan = experiment.make_plan(split, model, tokenizer, directory)
    if task.pairs:
        reference.give(plan, directory)
    found = evaluation_of(task)(model, plan, strategy, use_xla("auto")).run()
    answers = None
    if answers_are_scored:
        decoding = DecodedEvaluation()
        make_text_model = functools.partial(text_model_of, experiment, model, tokenizer)
        answers = decoding.measure(
            task, split, steps[-1], directory.predictions, strategy, make_text_model
        )
        found |= answers.figures
    if not strategies.is_chief(strategy):
        return found
    figures = ", ".join(f"{k} {v:,.6g}" for k, v in found.items())
    print(f"{split}, {checkpoints.name_of(steps)}: {figures}")
    what = {"step": steps[-1], "split": split}
    if len(steps) > 1:
        what["averaged_steps"] = steps
    if "evaluation_stride" in found:
        what["evaluation_stride"] = found["evaluation_stride"]
    new = metrics_file.add(directory.metrics, what, found)
    if answers:
        for name, signature in answers.signatures.items():
            print(f"  {name}: {signature}")
        samples = decoding.samples_of(answers)
        tensorboard.add(directory.tensorboard, steps[-1], split, new, samples)
    return found


def begin_from(state, saved, newest, initial_checkpoint, new_tokens):
    """Restores what there is, in this order, and says so; returns the step to go on from.

    1. the newest sound checkpoint of the model_dir;
    2. the weights of `initial_checkpoint`, whose tables may lack `new_tokens` tokens;
    3. nothing: the model is as it was made.
    """
    if newest is not None:
        state.read(saved.path(newest))
        print(f"goes on from {saved.path(newest)}")
        return newest
    if initial_checkpoint:
        path = os.path.expanduser(initial_checkpoint)
        if is_checkpoint(path):
            read_weights(state.model, path, new_tokens)
        else:
            path = checkpoints.find(path)
            restore_weights(state.model, path, new_tokens)
        state.reset_averages()
        print(f"begins at step 0 with the weights of {path}")
    else:
        print("begins at step 0 from scratch")
    return 0


def text_model_of(experiment, model, tokenizer, **settings):
    return TextModel(model, tokenizer, **text_settings(experiment, model) | settings)


def steps_of(steps, epochs, tokens, plan):
    """Steps in all, by the first of these that is not None."""
    if steps is not None:
        return steps
    if epochs is not None:
        return max(round(epochs * plan.steps_per_epoch), 1)
    if tokens is not None:
        a_step = plan.store.meta["target_tokens"] / plan.steps_per_epoch
        return max(round(tokens / a_step), 1)
    raise UserError("train.steps, train.epochs or train.tokens must be set: how long to train")


def is_exported(directory, saved):
    """Whether the export is of the newest checkpoint or later."""
    exported = os.path.join(directory.export, "saved_model.pb")
    newest = os.path.join(saved.path(saved.newest()), checkpoints.META)
    return os.path.exists(exported) and os.path.getmtime(exported) >= os.path.getmtime(newest)


def flops_of_step(model, plan, share):
    """Of a step in which `share` of the tokens have a weight."""
    lengths = plan.sequence_length, plan.source_length or 0
    return model.train_flops_per_token(*lengths, share) * plan.batch_size * plan.sequence_length
