"""Which models would do: for a task, in so much memory, at such a speed, in a language.

python scripts/choose.py --task=chat --memory_gb=8
python scripts/choose.py --task=translation --language=de --memory_gb=4 --memory_for=train
python scripts/choose.py --task=generation --tokens_per_second=20 --bandwidth_gb=33 --weights=int8
python scripts/choose.py --task=code --json

Of KerasHub's presets, by its metadata and what publishers say, and of this project's recipes, without
a network. What is not known stands as "?". Memory to train is that of weights, gradients and
AdamW's moments; activations come on top, which a run estimates before it begins.

A text's next token needs all weights to be read: tokens a second are at most the memory's bandwidth over
bytes of the weights (of a mixture of experts, those that a token passes through).
"""

import json
import sys

from absl import app, flags
from choosing import presets, recipes, tasks
from choosing.choice import Wish, choose
from choosing.table import as_dict, lines

from trainers.errors import UserError

FLAGS = flags.FLAGS
flags.DEFINE_string("task", "generation", f"One of {', '.join(tasks.TASKS)}.")
flags.DEFINE_float("memory_gb", None, "Memory that there is, in 1e9 bytes.", lower_bound=0.0)
flags.DEFINE_enum(
    "memory_for", "run", ["run", "lora", "train"], "What has to fit: running, LoRA or training."
)
flags.DEFINE_enum(
    "weights", "float32", ["float32", "bfloat16", "int8", "int4"], "Of an export, to run."
)
flags.DEFINE_float("tokens_per_second", None, "Of one text, at the least.", lower_bound=0.0)
flags.DEFINE_float("bandwidth_gb", None, "Of the memory, in 1e9 bytes a second.", lower_bound=0.001)
flags.DEFINE_string("language", None, "ISO 639-1 code, such as de.")
flags.DEFINE_boolean("all", False, "Those too that this project does not load.")
flags.DEFINE_boolean("json", False, "Prints JSON, with the command that starts each.")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; a task is given as --task=...")
    try:
        wish = Wish(
            task=FLAGS.task,
            memory=None if FLAGS.memory_gb is None else FLAGS.memory_gb * 1e9,
            memory_for=FLAGS.memory_for,
            weights=FLAGS.weights,
            tokens_per_second=FLAGS.tokens_per_second,
            bandwidth=None if FLAGS.bandwidth_gb is None else FLAGS.bandwidth_gb * 1e9,
            language=FLAGS.language,
            every=FLAGS.all,
        )
        known = presets.models() + recipes.models(tasks.RECIPES)
        found, unknown = choose(known, wish)
    except UserError as error:
        sys.exit(str(error))
    if FLAGS.json:
        print(json.dumps([as_dict(model, wish) for model in found], indent=2))
    else:
        print("\n".join(lines(found, unknown, wish)))


if __name__ == "__main__":
    app.run(main)
