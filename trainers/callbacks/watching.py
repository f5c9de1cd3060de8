"""Who watches a run: our callbacks before the user's, and on a cluster only the chief writes."""

import keras

from trainers.callbacks import metrics_file, progress, samples, tensorboard
from trainers.errors import UserError

WRITERS = (
    samples.Samples,
    keras.callbacks.CSVLogger,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
)


def watch(directory, model, now, steps, notes, callbacks, chief, make_text_model):
    """The callbacks of a run that goes on from step `now`.

    Those that decide, as EarlyStopping does, run in every worker and see the same numbers there.
    Of those that write, which are Keras' own and any with an attribute `chief_only` that is
    true, only the chief has one.

    Args:
      directory: ModelDir.
      model: that is trained.
      now, steps: first and last step.
      notes: of the checkpoint that the run goes on from.
      callbacks: functions to callbacks.
      chief: whether this process is the one that writes.
      make_text_model: function to a TextModel, for those that generate.

    Returns:
      keras.callbacks.CallbackList, whose `params` are `steps`, `tensorboard` and
      `make_text_model`.

    Raises:
      UserError: EarlyStopping is to restore the best weights, which checkpoints keep.
    """
    ours, board = [], None
    if chief:
        # An evaluation that was not finished is done again, and counts from then.
        evaluated = now - 1 if notes.get("evaluation_due") else now
        board = tensorboard.TensorBoard(directory.tensorboard, now, evaluated)
        ours = [
            metrics_file.MetricsFile(directory.metrics, now, evaluated),
            board,
            progress.Progress(now, steps),
        ]
    theirs = [callback() for callback in callbacks]
    theirs = [callback for callback in theirs if chief or not writes(callback)]
    if any(getattr(callback, "restore_best_weights", False) for callback in theirs):
        raise UserError(
            "EarlyStopping.restore_best_weights: leave it out; a checkpoint has the best weights, "
            'and Experiment.checkpoint = "best" evaluates and exports them'
        )
    model.stop_training = False
    return keras.callbacks.CallbackList(
        [*ours, *theirs],
        model=model,
        steps=steps,
        tensorboard=board,
        make_text_model=make_text_model,
    )


def is_ours(callback):
    return isinstance(
        callback, metrics_file.MetricsFile | tensorboard.TensorBoard | progress.Progress
    )


def writes(callback):
    return isinstance(callback, WRITERS) or getattr(callback, "chief_only", False)
