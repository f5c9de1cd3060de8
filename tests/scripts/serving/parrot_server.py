"""scripts/serve.py with a Parrot in the place of an export."""

import serve
from absl import app

from tests.scripts.serving.parrot import Parrot

serve.find_export = str
serve.load_export = lambda folder: Parrot()

if __name__ == "__main__":
    app.run(serve.main)
