"""Serves an export over HTTP as OpenAI's interface has it, with a page to try it by hand.

python scripts/serve.py --model=runs/quickstart --port=8000
"""

import os
import sys

from absl import app, flags

from trainers.pipeline import find_export
from trainers.startup import import_tensorflow

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "Folder of an export, or a model_dir that holds one.")
flags.DEFINE_string("model_name", "", "What requests call it; by default the export's own name.")
flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 for all of this machine.")
flags.DEFINE_integer("port", 8000, "0 for any that is free.", lower_bound=0, upper_bound=65535)
flags.DEFINE_integer("max_batch_size", 16, "Texts that decode together.", lower_bound=1)
flags.DEFINE_integer(
    "steps_at_once",
    4,
    "Tokens of each text between which prompts join and text is sent: more are faster, and less "
    "smooth.",
    lower_bound=1,
)
flags.DEFINE_integer("max_queue", 256, "Prompts that may wait; more get a 429.", lower_bound=1)
flags.DEFINE_float("timeout_s", 600, "How long an answer may take.", lower_bound=0)
flags.DEFINE_float("grace_s", 30, "How long answers may go on after SIGTERM.", lower_bound=0)
flags.DEFINE_multi_string(
    "api_key", [], "Bearer key to ask for; also MENAGERIE_API_KEYS, with commas between."
)
flags.DEFINE_integer("max_body_bytes", 2**20, "Of a request.", lower_bound=1)
flags.DEFINE_float(
    "body_timeout_s", 30, "How long headers, and then a body, may take to arrive.", lower_bound=0
)
flags.DEFINE_float(
    "write_timeout_s", 60, "How long a client may take nothing of its answer.", lower_bound=0
)
flags.mark_flag_as_required("model")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; the model is given as --model=...")
    try:
        serve(find_export(FLAGS.model))
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "prometheus_client"):
            raise
        sys.exit(f"{error.name} is not installed: pip install -e '.[serve]'")


def serve(folder):
    """Serves until a signal. What can be wrong is found before anything heavy is loaded."""
    from serving import server

    listener = server.listen(FLAGS.host, FLAGS.port)
    export = load_export(folder)

    from serving.api import Limits, build
    from serving.engine import Engine
    from serving.model import Model

    model = Model.of(export, folder, FLAGS.model_name)
    engine = Engine(
        export, FLAGS.max_batch_size, FLAGS.max_queue, FLAGS.timeout_s, FLAGS.steps_at_once
    )
    engine.warm_up()
    engine.start()
    keys = os.environ.get("MENAGERIE_API_KEYS", "").split(",")
    limits = Limits(
        api_keys=tuple(key.strip() for key in [*FLAGS.api_key, *keys] if key.strip()),
        max_body_bytes=FLAGS.max_body_bytes,
        body_timeout_s=FLAGS.body_timeout_s,
    )

    def ready():
        print(f"serving {model.name} on {server.address(listener)}", flush=True)

    application = build(model, engine, limits)
    running = server.configure(
        application,
        engine,
        grace_s=FLAGS.grace_s,
        read_timeout_s=FLAGS.body_timeout_s,
        write_timeout_s=FLAGS.write_timeout_s,
        ready=ready,
    )
    running.run(sockets=[listener])
    engine.close()


def load_export(folder):
    import_tensorflow()
    import tensorflow as tf
    import tensorflow_text  # noqa: F401, whose operations the tokenizers are made of

    return tf.saved_model.load(folder)


if __name__ == "__main__":
    app.run(main)
