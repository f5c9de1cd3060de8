"""Prepare data, train, evaluate or export a language model.

python -m trainers.run --gin_file=configs/recipes/quickstart.gin --model_dir=runs/quickstart
python -m trainers.run --model_dir=runs/quickstart --gin_param='STEPS = 2000'
python -m trainers.run --model_dir=runs/quickstart --mode=evaluate --split=test
"""

import os
import sys

from absl import flags

from trainers import config, startup
from trainers.errors import FAILED, LEFT, RESUMABLE, Interrupted, UserError, is_disk_full
from trainers.settings import did_you_mean

MODES = ["prepare", "train", "evaluate", "export"]
FORMATS = ["saved_model", "litert", "onnx"]


def define_flags():
    values = flags.FlagValues()
    flags.DEFINE_multi_string(
        "gin_file",
        [],
        "A recipe, or several, of which the later have the last word. Without: the config.gin "
        "of --model_dir.",
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "gin_param",
        [],
        "A setting on top of the recipe, such as 'STEPS = 100'.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "model_dir",
        None,
        "Folder of the run: configuration, checkpoints, metrics and export. A run that is "
        "there already goes on.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "data_dir", None, "Folder of prepared data, which runs share.", flag_values=values
    )
    flags.DEFINE_enum("mode", "train", MODES, "What to do.", flag_values=values)
    flags.DEFINE_string("split", "validation", "What to evaluate on.", flag_values=values)
    flags.DEFINE_enum(
        "format",
        "saved_model",
        FORMATS,
        "What to export: saved_model, text in and out, for TensorFlow; litert, tokens in and out, "
        "for phones and small machines; onnx, tokens in and logits out.",
        flag_values=values,
    )
    return values


def parse_flags(argv):
    values = define_flags()
    try:
        _, *rest = values(argv)
    except flags.UnrecognizedFlagError as error:
        name = error.flagname.lstrip("-")
        hint = did_you_mean(f"--{name}", [f"--{known}" for known in values])
        raise UserError(f"--{name}: there is no such flag{hint}") from error
    except flags.Error as error:
        raise UserError(str(error)) from error
    if rest:
        raise UserError(f"{rest[0]}: not a flag; a --gin_param needs quotes: --gin_param='A = 1'")
    if not values.model_dir:
        raise UserError(
            "--model_dir must be set: folder of the run, as --model_dir=runs/quickstart"
        )
    return values


def run(values):
    model_dir = os.path.expanduser(values.model_dir)
    data_dir = values.data_dir and os.path.expanduser(values.data_dir)
    called = ("Experiment", "train") if values.mode == "train" else ("Experiment",)
    checked = config.check(values.gin_file, values.gin_param, model_dir, called=called)
    config.check_fits(model_dir, checked)

    startup.import_tensorflow()
    from trainers import registry

    registry.register()
    config.load(checked)

    from trainers import export, litert, onnx, preparation, trainer
    from trainers.experiment import Experiment

    experiment = Experiment(data_dir=data_dir)
    if values.mode == "prepare":
        preparation.prepare(experiment, model_dir)
    elif values.mode == "train":
        trainer.train(experiment, model_dir)
    elif values.mode == "evaluate":
        trainer.evaluate(experiment, model_dir, values.split)
    else:
        exporters = {"saved_model": export, "litert": litert, "onnx": onnx}
        exporters[values.format].export(experiment, model_dir)


def main(argv):
    """Runs a command line; returns the exit status."""
    if {"--help", "-h", "-help", "--helpfull"} & set(argv[1:]):
        print(f"{__doc__}\n{define_flags().get_help()}")
        return 0
    try:
        run(parse_flags(argv))
    except UserError as error:
        problem, *_ = str(error).split("\n")  # gin adds lines to what passes through it
        print(f"error: {problem}", file=sys.stderr)
        return FAILED
    except Interrupted as error:
        print(error, file=sys.stderr)
        return RESUMABLE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return LEFT
    except Exception as error:
        if not is_disk_full(error):
            raise
        problem, *_ = str(error).split("\n")
        print(
            f"error: {problem}; checkpoints are whole: make room, and the same command goes on",
            file=sys.stderr,
        )
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
