"""What differs between two runs: checkpoints, metrics and TensorBoard, but for times."""

import glob
import os

from trainers.callbacks import metrics_file
from trainers.checkpoints import STATE, Checkpoints


def differences(one, other):
    """What differs between two model_dirs, a line each."""
    import tensorflow as tf

    saved, other_saved = (Checkpoints(os.path.join(d, "checkpoints")) for d in (one, other))
    if saved.steps() != other_saved.steps():
        yield f"checkpoints {saved.steps()} and {other_saved.steps()}"
        return
    for step in saved.steps():
        paths = [os.path.join(c.path(step), STATE) for c in (saved, other_saved)]
        readers = [tf.train.load_checkpoint(path) for path in paths]
        names = [sorted(reader.get_variable_to_shape_map()) for reader in readers]
        if names[0] != names[1]:
            yield f"step {step}: other variables"
            continue
        for name in names[0]:
            values = [bytes_of(reader.get_tensor(name)) for reader in readers]
            if values[0] != values[1]:
                yield f"step {step}: {name}"

    lines = [metrics_of(os.path.join(d, "metrics.jsonl")) for d in (one, other)]
    if lines[0] != lines[1]:
        yield "metrics.jsonl"
    points = [tensorboard_points(os.path.join(d, "tensorboard")) for d in (one, other)]
    if points[0] != points[1]:
        yield "the points in TensorBoard"


def bytes_of(value):
    return value if isinstance(value, bytes) else value.tobytes()


def metrics_of(path):
    return [
        {k: v for k, v in line.items() if k not in metrics_file.TIMES}
        for line in metrics_file.read(path)
    ]


def tensorboard_points(folder):
    """(split, tag, step, value in bytes) of each point, sorted: a doubled one is there twice."""
    import tensorflow as tf

    points = []
    for path in glob.glob(os.path.join(folder, "*", "events.*")):
        split = os.path.basename(os.path.dirname(path))
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            points += [
                (split, value.tag, event.step, value.SerializeToString())
                for value in event.summary.value
                if value.tag not in metrics_file.TIMES
            ]
    return sorted(points)
