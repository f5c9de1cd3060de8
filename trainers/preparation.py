"""prepare(): what training reads, made before it."""

from trainers.checkpoints import Checkpoints
from trainers.model_dir import ModelDir


def prepare(experiment, model_dir):
    """Makes what training reads, the tokenizer and the token store of each split, and says their sizes.

    Training makes what is missing itself, and takes what it finds that was made from the same: this is
    for where data is made apart from it, before a cluster's time begins to count.

    Args:
      experiment: see experiment.py.
      model_dir: path of the run.

    Raises:
      UserError: what is wrong with the data.
    """
    directory = ModelDir(model_dir)
    strategy = experiment.begin(directory)
    with directory.locked():
        newest = Checkpoints(directory.checkpoints).newest_sound()
        model, tokenizer = experiment.make(directory, strategy, anew=newest is None)
        for split in experiment.task.splits:
            training = split == "train"
            plan = experiment.make_plan(split, model, tokenizer, directory, training=training)
            print(f"{split}: {plan.steps_per_epoch:,} steps of {plan.batch_size} rows")
