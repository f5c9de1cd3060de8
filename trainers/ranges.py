"""The ranges of the numbers that `train` and Experiment take. What depends on the data is not here."""

from trainers.errors import UserError

RANGES = {
    "at least 0": lambda number: number >= 0,
    "at least 1": lambda number: number >= 1,
    "above 0": lambda number: number > 0,
    "at least 0 and below 1": lambda number: 0 <= number < 1,
    "at least 0 and below 2**31": lambda number: 0 <= number < 2**31,
}

# parameter: what users call it, its range
TRAIN = {
    "learning_rate": ("LEARNING_RATE", "at least 0"),
    "steps": ("STEPS", "at least 1"),
    "epochs": ("train.epochs", "above 0"),
    "tokens": ("train.tokens", "above 0"),
    "max_seconds": ("MAX_SECONDS", "above 0"),
    "clip_norm": ("train.clip_norm", "at least 0"),
    "accumulation": ("ACCUMULATION", "at least 1"),
    "ema_decay": ("train.ema_decay", "at least 0 and below 1"),
    "report_every_steps": ("train.report_every_steps", "at least 1"),
    "evaluate_every_steps": ("EVAL_EVERY", "at least 1"),
    "checkpoint_every_steps": ("CHECKPOINT_EVERY", "at least 1"),
    "keep_checkpoints": ("train.keep_checkpoints", "at least 1"),
    "keep_best_checkpoints": ("train.keep_best_checkpoints", "at least 1"),
}
EXPERIMENT = {
    "batch_size": ("BATCH_SIZE", "at least 1"),
    "sequence_length": ("SEQUENCE_LENGTH", "at least 1"),
    "source_length": ("SOURCE_LENGTH", "at least 1"),
    "evaluation_batch_size": ("Experiment.evaluation_batch_size", "at least 1"),
    "vocabulary_size": ("VOCABULARY_SIZE", "at least 1"),
    "seed": ("SEED", "at least 0 and below 2**31"),
    "averaged_checkpoints": ("Experiment.averaged_checkpoints", "at least 1"),
    "max_length": ("Experiment.max_length", "at least 1"),
}


def check(table, values):
    """Raises UserError for a number that is out of its range; None, for one left open, passes.

    Args:
      table: TRAIN or EXPERIMENT.
      values: {parameter: number}, among others.
    """
    for parameter, (name, words) in table.items():
        number = values[parameter]
        if number is not None and not RANGES[words](number):
            raise UserError(f"{name} = {number}: must be {words}")
