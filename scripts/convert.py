"""Turns a checkpoint of Hugging Face Transformers into a model_dir, or a model_dir into one.

python scripts/convert.py gpt2/ runs/gpt2        # config.json, model.safetensors, tokenizer.json
python scripts/convert.py runs/mine exported/    # loads with transformers.AutoModelForCausalLM

What of the zoo is which architecture: trainers/hugging_face/decoders.py. A model_dir can be
exported, evaluated and served, and a run begins from either by --gin_param='INIT = "gpt2/"'.
"""

import os
import sys

from absl import app, logging

from trainers.config import NAME
from trainers.errors import UserError
from trainers.hugging_face.folder import CONFIG, is_checkpoint
from trainers.startup import import_tensorflow


def main(argv):
    if len(argv) != 3:
        raise app.UsageError("from where, and to where? python scripts/convert.py FROM TO")
    _, source, target = argv
    if not is_checkpoint(source) and not os.path.isfile(os.path.join(source, NAME)):
        sys.exit(
            f"{source}: is neither a checkpoint, with a {CONFIG}, nor a model_dir, with a {NAME}"
        )
    logging.set_verbosity(logging.WARNING)
    import_tensorflow()
    from trainers.hugging_face import convert

    try:
        if is_checkpoint(source):
            model = convert.to_model_dir(source, target)
            print(f"{target}: a {type(model).__name__} of {model.count_params():,} parameters")
        else:
            model, with_tokenizer = convert.from_model_dir(source, target)
            print(f"{target}: {model.count_params():,} parameters")
            if not with_tokenizer:
                print("the tokenizer is not there: it is neither of bytes nor byte-pair encoding")
    except UserError as error:
        problem, *_ = str(error).split("\n")  # gin adds lines to what passes through it
        sys.exit(problem)


if __name__ == "__main__":
    app.run(main)
