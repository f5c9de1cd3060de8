"""Writes one HTML page about runs, to be read without a network:

python scripts/report.py runs/quickstart
python scripts/report.py runs/small runs/large --output=compared.html

Curves, final figures, what differs between the configurations, what the models wrote, and what
the runs cost. A run may still be going on.
"""

import sys

from absl import app, flags
from output import whole_file

from trainers.errors import UserError
from trainers.startup import import_tensorflow

FLAGS = flags.FLAGS
flags.DEFINE_string("output", "report.html", "File to write.")
flags.DEFINE_string("title", None, "Of the page; the runs' names where there is none.")


def main(argv):
    paths = argv[1:]
    if not paths:
        raise app.UsageError("which runs? python scripts/report.py MODEL_DIR [MODEL_DIR ...]")
    try:
        with whole_file(FLAGS.output) as file:
            import_tensorflow()  # which callbacks need
            from reporting import page, runs

            names = runs.names_of(paths)
            found = [runs.read(path, name) for path, name in zip(paths, names, strict=True)]
            file.write(page.render(found, FLAGS.title))
    except (UserError, OSError) as error:
        sys.exit(str(error))
    print(f"{FLAGS.output}: {len(found)} run{'s' * (len(found) > 1)}")


if __name__ == "__main__":
    app.run(main)
