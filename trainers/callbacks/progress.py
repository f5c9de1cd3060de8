"""What a person watching the terminal sees: a bar with time to go, and a line an evaluation."""

import sys

import keras
import tqdm

from trainers.recovery import told
from trainers.text_metrics.table import METRICS, OF_PAIRS, figures_of

SHOWN = {  # name in the logs -> how it is shown
    "loss": "loss {:.4f}",
    "val_loss": "val_loss {:.4f}",
    "val_perplexity": "val_perplexity {:.3f}",
    "val_bits_per_byte": "val_bits_per_byte {:.4f}",
    "val_accuracy": "val_accuracy {:.4f}",
    **{
        f"val_{name}": f"val_{name} {{:.4g}}"
        for name in (*OF_PAIRS, *figures_of(METRICS))
        if name != "loss"
    },
    "tokens_per_second": "{:,.0f} tokens/s",
    "pairs_per_second": "{:,.1f} pairs/s",
}


class Progress(keras.callbacks.Callback):
    """A progress bar on a terminal; elsewhere a line at each evaluation and nothing between.

    Args:
      start: step that the run goes on from.
      steps: step at which it ends.
    """

    def __init__(self, start, steps):
        super().__init__()
        self.start = start
        self.steps = steps
        self.step = start
        self.bar = None

    def on_train_begin(self, logs=None):
        self.bar = tqdm.tqdm(
            total=self.steps,
            initial=self.start,
            unit="step",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def on_train_batch_end(self, batch, logs=None):
        self.step = batch
        self.bar.set_postfix_str(summary(logs), refresh=False)
        self.bar.update(batch - self.bar.n)

    def on_epoch_end(self, epoch, logs=None):
        self.bar.write(f"step {self.step:,} of {self.steps:,}: {summary(logs)}")

    def on_go_back(self, step, event):
        self.step = step
        self.bar.update(step - self.bar.n)
        skipped = " to ".join(f"{batch:,}" for batch in event["skipped_batches"])
        self.bar.write(
            f"step {event['step']:,}: {told(event)}; goes back to step {step:,} and leaves out "
            f"batches {skipped}",
            file=sys.stderr,
        )

    def on_train_end(self, logs=None):
        self.bar.close()


def summary(logs):
    return ", ".join(
        form.format(logs[name]) for name, form in SHOWN.items() if logs.get(name) is not None
    )
