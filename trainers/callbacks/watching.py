"""Who watches a run: our callbacks before the user's, and on a cluster only the chief writes."""

import keras

from trainers import strategies
from trainers.callbacks import metrics_file, progress, samples, tensorboard
from trainers.errors import UserError
from trainers.settings import did_you_mean
from trainers.text_metrics.table import METRICS, OF_PAIRS, OF_TOKENS, figures_of

WRITERS = (
    samples.Samples,
    keras.callbacks.CSVLogger,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
)

SETTERS_OF_RATES = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)


def watch(directory, model, now, steps, notes, callbacks, strategy, task, make_text_model):
    """The callbacks of a run that goes on from step `now`.

    Those that decide, as EarlyStopping does, run in every worker and see the same numbers there.
    Of those that write, which are Keras' own and any with an attribute `chief_only` that is
    true, only the chief has one.

    Args:
      directory: ModelDir.
      model: that is trained.
      now, steps: first and last step.
      notes: of the checkpoint that the run goes on from.
      callbacks: the user's.
      strategy: of the run, whose chief is the one that writes.
      task: see data/tasks.py.
      make_text_model: function to a TextModel, for those that generate.

    Returns:
      keras.callbacks.CallbackList, whose `params` are `steps`, `strategy`, `task`,
      `make_text_model`, `predictions`, the folder of these, and `tensorboard`, None but for the
      chief.
    """
    ours, board = [], None
    chief = strategies.is_chief(strategy)
    if chief:
        # An evaluation that was not finished is done again, and counts from then.
        evaluated = now - 1 if notes.get("evaluation_due") else now
        board = tensorboard.TensorBoard(directory.tensorboard, now, evaluated)
        ours = [
            metrics_file.MetricsFile(directory.metrics, now, evaluated),
            board,
            progress.Progress(now, steps),
        ]
    theirs = [callback for callback in callbacks if chief or not writes(callback)]
    model.stop_training = False
    return keras.callbacks.CallbackList(
        [*ours, *theirs],
        model=model,
        steps=steps,
        strategy=strategy,
        task=task,
        predictions=directory.predictions,
        tensorboard=board,
        make_text_model=make_text_model,
    )


def check_callbacks(callbacks):
    """Raises UserError for what checkpoints and the schedule do in place of Keras' callbacks."""
    for callback in callbacks:
        if getattr(callback, "restore_best_weights", False):
            raise UserError(
                "EarlyStopping.restore_best_weights: leave it out; a checkpoint has the best weights, "
                'and Experiment.checkpoint = "best" evaluates and exports them'
            )
        if isinstance(callback, SETTERS_OF_RATES):
            raise UserError(
                f"train.callbacks: {type(callback).__name__} cannot set the learning rate, which is a "
                "function of the step; leave it out and choose a train.schedule"
            )


def check_best_metric(name, callbacks, task):
    """Raises UserError for a `train.best_metric` that no evaluation of the run finds.

    Callbacks that measure say so by a method `figures`, and are asked in evaluations by another,
    `on_evaluation`; see decoded_evaluation.py.
    """
    figures = list(OF_PAIRS if task.pairs else OF_TOKENS)
    parts = getattr(task, "tasks", ())  # of a mixture, each measured on its own
    figures += [f"{part}_{figure}" for part in parts for figure in OF_TOKENS]
    for callback in callbacks:
        if hasattr(callback, "figures"):
            figures += callback.figures(task)
    known = [f"{metrics_file.PREFIX}{figure}" for figure in figures]
    if name not in known:
        hint = did_you_mean(name, known) or f"; the run has {', '.join(known)}"
        if name.removeprefix(metrics_file.PREFIX) in figures_of(METRICS):
            hint = (
                "; it is one of decoded answers: add @DecodedEvaluation to train.callbacks, and "
                "its metric to the task's"
            )
        raise UserError(f"train.best_metric = {name!r}: no evaluation finds it{hint}")


def is_ours(callback):
    return isinstance(
        callback, metrics_file.MetricsFile | tensorboard.TensorBoard | progress.Progress
    )


def writes(callback):
    return isinstance(callback, WRITERS) or getattr(callback, "chief_only", False)
