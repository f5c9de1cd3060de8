import os
from types import SimpleNamespace

import pytest
import tensorflow as tf

from trainers import strategies
from trainers.checkpoints import Checkpoints
from trainers.loop import Loop


@pytest.mark.parametrize("step", [10, None])
def test_a_worker_goes_back_to_where_the_chief_does_whatever_it_sees_itself(
    tmp_path, monkeypatch, step
):
    os.mkdir(tmp_path / "step_20")  # of which the chief is still writing the meta file
    told = [-1.0 if step is None else float(step)]
    monkeypatch.setattr(strategies, "told_by_chief", lambda *_: told)
    saved = Checkpoints(str(tmp_path), writes=False)
    worker = SimpleNamespace(saved=saved, strategy=tf.distribute.get_strategy())
    assert Loop.newest_sound(worker) == step


def test_the_chief_waits_for_what_it_is_writing(tmp_path):
    saved = Checkpoints(str(tmp_path))
    saved.save_soon(Writer(), 10, {})
    chief = SimpleNamespace(saved=saved, strategy=tf.distribute.get_strategy())
    assert Loop.newest_sound(chief) == 10


class Writer:
    """A state of one file."""

    def write(self, prefix):
        with open(f"{prefix}.index", "w") as file:
            file.write("all there is")
