"""Prints what an export makes of prompts.

python scripts/generate.py --model=runs/quickstart --prompt="def " --max_new_tokens=60
"""

import os
import sys

from absl import app, flags

from trainers.pipeline import pipeline

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "Folder of an export, or a model_dir that holds one.")
flags.DEFINE_multi_string("prompt", None, "A prompt; may be given several times.")
flags.DEFINE_string("prompt_file", None, "File with a prompt a line. Without it: standard input.")
flags.DEFINE_integer("max_new_tokens", 256, "The most tokens to generate.", lower_bound=0)
flags.DEFINE_float("temperature", None, "0 takes the likeliest token.", lower_bound=0.0)
flags.DEFINE_integer("top_k", None, "Draws among so many tokens; 0 for all.", lower_bound=0)
flags.DEFINE_float(
    "top_p",
    None,
    "Draws among the likeliest tokens of this probability together; 1 for all.",
    lower_bound=0.0,
    upper_bound=1.0,
)
flags.DEFINE_integer("num_return_sequences", 1, "Texts for each prompt.", lower_bound=1)
flags.DEFINE_integer("seed", None, "The same seed gives the same texts.")
flags.DEFINE_multi_string("stop", [], "A text ends before it; may be given several times.")
flags.mark_flag_as_required("model")

SEPARATOR = "-" * 40


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; a prompt is given as --prompt=...")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        generator = pipeline(model=FLAGS.model)
        texts = generator.generate(
            read_prompts(),
            max_new_tokens=FLAGS.max_new_tokens,
            temperature=FLAGS.temperature,
            top_k=FLAGS.top_k,
            top_p=FLAGS.top_p,
            num_return_sequences=FLAGS.num_return_sequences,
            seed=FLAGS.seed,
            stop=FLAGS.stop,
        )
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    texts = [text for row in texts for text in row]
    # Answers to a source stand a line each, as their sources did; texts that go on have lines.
    separator = f"\n{SEPARATOR}\n" if generator.task == "text-generation" else "\n"
    print(separator.join(texts))


def read_prompts():
    if FLAGS.prompt:
        return FLAGS.prompt
    if FLAGS.prompt_file:
        with open(FLAGS.prompt_file, encoding="utf-8") as file:
            return file.read().splitlines()
    return sys.stdin.read().splitlines()


if __name__ == "__main__":
    app.run(main)
