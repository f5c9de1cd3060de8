"""model_card.md: what an export is, what it was trained on, and how well it did."""

import os

from trainers.callbacks import metrics_file

CARD = """# {name}

{family}, exported at step {step:,} of its training.

| | |
|---|---|
| parameters | {parameters:,} |
| size on disk | {megabytes:,.1f} MB, weights as {weights} |
| reads and writes | {max_length:,} tokens at most, {layout} |
| tokenizer | {tokenizer}, {vocabulary_size:,} tokens |
| trained on | {trained_on} |
| precision of training | {precision} |
| draft, for speed | {draft} |
| licence | {licence} |

## Figures

{figures}

## Use

```python
import tensorflow as tf
import tensorflow_text

model = tf.saved_model.load("{folder}")
model.generate(["Once upon"], max_new_tokens=60)["text"]
```
"""


def write(folder, facts, metrics):
    """Writes the card of an export into its folder.

    Args:
      folder: of the SavedModel.
      facts: what stands in the table, by the names in CARD.
      metrics: path of metrics.jsonl, of which the figures are taken.
    """
    size = sum(
        os.path.getsize(os.path.join(parent, name))
        for parent, _, names in os.walk(folder)
        for name in names
    )
    text = CARD.format(**facts, megabytes=size / 1e6, figures=figures(metrics, facts["step"]))
    with open(os.path.join(folder, "model_card.md"), "w", encoding="utf-8") as file:
        file.write(text)


def figures(metrics, step):
    """A table of the last measures of each split at the step or before."""
    lines = metrics_file.read(metrics) if os.path.exists(metrics) else []
    measured = {
        line["split"]: line
        for line in lines
        if line.get("split") in ("validation", "test") and line["step"] <= step
    }
    if not measured:
        return "None was measured."
    rows = ["| split | step | measures |", "|---|---|---|"]
    for split, line in measured.items():
        numbers = (
            f"{name} {value:,.5g}"
            for name, value in line.items()
            if name not in ("split", "step") and isinstance(value, (int, float))
        )
        rows.append(f"| {split} | {line['step']:,} | {', '.join(numbers)} |")
    return "\n".join(rows)
