"""model_card.md: what an export is, what it was trained on, and how well it did."""

import os

from trainers.callbacks import metrics_file
from trainers.checkpoints import name_of

CARD = """# {name}

{family}, {weights_of} of its training.

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
    text = CARD.format(
        **facts,
        weights_of=name_of(facts["steps"]),
        megabytes=size / 1e6,
        figures=figures(metrics, facts["steps"]),
    )
    with open(os.path.join(folder, "model_card.md"), "w", encoding="utf-8") as file:
        file.write(text)


def figures(metrics, steps):
    """A table of the last measures of each split at the step or before, or of the mean of steps."""
    lines = metrics_file.read(metrics) if os.path.exists(metrics) else []
    measured = {}
    for line in lines:
        if (
            line.get("split") in ("validation", "test")
            and line["step"] <= steps[-1]
            and line.get("averaged_steps") == (steps if len(steps) > 1 else None)
        ):
            before = measured.get(line["split"], {})  # a step's figures may be on several lines
            same = before.get("step") == line["step"]
            measured[line["split"]] = before | line if same else line
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
