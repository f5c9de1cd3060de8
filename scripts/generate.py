"""Prints or writes what an export makes of prompts.

python scripts/generate.py --model=runs/quickstart --prompt="def " --max_new_tokens=60
python scripts/generate.py --model=runs/dates_en_de --input=dates.txt --output=answers.jsonl

An output file is written when all is done: it is whole, or as it was before.
"""

import contextlib
import json
import os
import sys

import tqdm
from absl import app, flags
from output import whole_file

from trainers import generation_options
from trainers.pipeline import find_export, pipeline

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "Folder of an export, or a model_dir that holds one.")
flags.DEFINE_multi_string("prompt", None, "A prompt; may be given several times.")
flags.DEFINE_string(
    "input",
    "-",
    "File with a prompt a line, or .jsonl with an object a line; - for standard input, by lines.",
)
flags.DEFINE_alias("prompt_file", "input")
flags.DEFINE_string("field", "prompt", "The field of a .jsonl input that holds the prompt.")
flags.DEFINE_string(
    "output",
    None,
    "File to write: .jsonl for objects with prompt, texts (without it) and log_probabilities; "
    "else a text a line, its own line breaks as spaces. Without it: standard output.",
)
flags.DEFINE_integer("max_new_tokens", 256, "The most tokens to generate.", lower_bound=0)
flags.DEFINE_integer("min_new_tokens", 0, "Tokens before which no text ends.", lower_bound=0)
flags.DEFINE_boolean("do_sample", None, "Draws at random; by default where the model goes on.")
flags.DEFINE_float("temperature", None, "0 takes the likeliest token.", lower_bound=0.0)
flags.DEFINE_integer("top_k", None, "Draws among so many tokens; 0 for all.", lower_bound=0)
flags.DEFINE_float(
    "top_p",
    None,
    "Draws among the likeliest tokens of this probability together; 1 for all.",
    lower_bound=0.0,
    upper_bound=1.0,
)
flags.DEFINE_float(
    "min_p",
    None,
    "Draws among tokens of at least this part of the likeliest one's probability; 0 for all.",
    lower_bound=0.0,
    upper_bound=1.0,
)
flags.DEFINE_float("repetition_penalty", 1.0, "Above 1 against tokens that were there before.")
flags.DEFINE_float("presence_penalty", 0.0, "Taken from the logit of a token in the text.")
flags.DEFINE_float("frequency_penalty", 0.0, "The same, for each time that it is there.")
flags.DEFINE_integer("num_beams", 1, "Above 1: beam search, nothing drawn.", lower_bound=1)
flags.DEFINE_float("length_penalty", 1.0, "Of beams: above 0 for longer texts.")
flags.DEFINE_enum(
    "early_stopping", "false", ["false", "true", "never"], "Of beams: when the search is over."
)
flags.DEFINE_integer("num_return_sequences", 1, "Texts for each prompt.", lower_bound=1)
flags.DEFINE_integer("seed", None, "The same seed gives the same texts.")
flags.DEFINE_multi_string("stop", [], "A text ends before it; may be given several times.")
flags.DEFINE_string("answer_prefix", "", "What each text begins with.")
flags.DEFINE_boolean("truncation", True, "Shortens prompts that are too long, from the left.")
flags.DEFINE_integer("batch_size", 8, "Prompts that run at once.", lower_bound=1)
flags.mark_flag_as_required("model")

SEPARATOR = "-" * 40


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; a prompt is given as --prompt=...")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        generate()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def generate():
    """What can be wrong with files and flags is found before anything heavy is loaded."""
    find_export(FLAGS.model)
    options = {name: FLAGS[name].value for name in generation_options.NAMES}
    options["early_stopping"] = {"true": True, "false": False}.get(FLAGS.early_stopping, "never")
    generation_options.read(options, sampled=True)
    prompts = FLAGS.prompt or read_prompts(FLAGS.input, FLAGS.field)
    with whole_file(FLAGS.output) if FLAGS.output else contextlib.nullcontext(sys.stdout) as file:
        generator = pipeline(model=FLAGS.model)
        texts = dict(
            tqdm.tqdm(
                generator.generate(prompts, **options),
                total=len(prompts),
                unit="prompt",
                dynamic_ncols=True,
                disable=not sys.stderr.isatty(),
            )
        )
        rows = [(prompt, texts[i]) for i, prompt in enumerate(prompts)]
        goes_on = generator.task == "text-generation"
        if FLAGS.output and FLAGS.output.endswith(".jsonl"):
            file.writelines(json_lines(rows))
            return
        whole = [one.text for _, row in rows for one in row]
        if goes_on:
            whole = [prompt + one.text for prompt, row in rows for one in row]
        if FLAGS.output:
            file.writelines(" ".join(text.splitlines()) + "\n" for text in whole)
        elif whole:
            # Texts that go on have lines; answers to a source stand a line each, as that did.
            print(f"\n{SEPARATOR}\n".join(whole) if goes_on else "\n".join(whole))


def json_lines(rows):
    for prompt, row in rows:
        fields = {
            "prompt": prompt,
            "texts": [one.text for one in row],
            "log_probabilities": [one.log_probability for one in row],
        }
        yield json.dumps(fields, ensure_ascii=False) + "\n"


def read_prompts(path, field):
    """The prompts of a file, in order.

    Raises:
      ValueError: naming the line that is not UTF-8, no JSON object, or lacks the field.
    """
    if path == "-":
        return [line for _, line in lines(sys.stdin.buffer, "standard input")]
    with open(path, "rb") as file:
        numbered = list(lines(file, path))
    if not path.endswith(".jsonl"):
        return [line for _, line in numbered]
    return [prompt_of(line, field, where) for where, line in numbered if line.strip()]


def lines(file, name):
    """("name:number", text) of each line of a binary file."""
    for number, line in enumerate(file, 1):
        where = f"{name}:{number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise ValueError(f"{where}: byte {byte:#04x} is not UTF-8; convert the file") from None
        yield where, text.removesuffix("\n").removesuffix("\r")


def prompt_of(line, field, where):
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error}); one object a line") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{where}: {line[:40]!r} is no JSON object; write {{...}}")
    if field not in fields:
        known = ", ".join(fields) or "none"
        raise ValueError(f"{where}: no field {field!r}; the fields are: {known}; see --field")
    prompt = fields[field]
    if not isinstance(prompt, str):
        raise ValueError(f"{where}: the field {field!r} is no string but {prompt!r}"[:200])
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise ValueError(f"{where}: the field {field!r} has half of a surrogate pair")
    return prompt


if __name__ == "__main__":
    app.run(main)
