"""Writes one HTML page about runs, to be read without a network:

python scripts/report.py runs/quickstart
python scripts/report.py runs/small runs/large --output=compared.html

Curves, final figures, what differs between the configurations, what the models wrote, and what
the runs cost. A run may still be going on.
"""

import os
import sys

from absl import app, flags

from trainers.errors import UserError
from trainers.startup import import_tensorflow

FLAGS = flags.FLAGS
flags.DEFINE_string("output", "report.html", "File to write.")
flags.DEFINE_string("title", None, "Of the page; the runs' names where there is none.")


def main(argv):
    paths = argv[1:]
    if not paths:
        raise app.UsageError("which runs? python scripts/report.py MODEL_DIR [MODEL_DIR ...]")
    import_tensorflow()  # which callbacks need
    try:
        from reporting import page, runs

        found = [
            runs.read(path, name) for path, name in zip(paths, runs.names_of(paths), strict=True)
        ]
        text = page.render(found, FLAGS.title)
    except UserError as error:
        sys.exit(str(error))
    with open(f"{FLAGS.output}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{FLAGS.output}.new", FLAGS.output)
    print(f"{FLAGS.output}: {len(found)} run{'s' * (len(found) > 1)}")


if __name__ == "__main__":
    app.run(main)
