import os
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from trainers import checkpoints, train_state
from trainers.checkpoints import Checkpoints
from trainers.errors import UserError


class State:
    """A state of one variable."""

    def __init__(self, size=1000):
        self.variable = tf.Variable(tf.zeros(size))
        self.all = tf.train.Checkpoint(variable=self.variable)

    def write(self, prefix):
        train_state.write(self.all, prefix)

    def read(self, path):
        train_state.restore(self.all, path)
        return self.variable.numpy()[0]


def saved(folder, losses, **options):
    """Checkpoints at steps 10, 20 ..., each with its step as value, with these losses."""
    made, state = Checkpoints(str(folder), **options), State()
    for number, loss in enumerate(losses, 1):
        state.variable.assign(tf.fill([1000], 10.0 * number))
        made.save(state, 10 * number, {} if loss is None else {"val_loss": loss})
    return made


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    made = saved(tmp_path, [3.0, 2.0])
    assert made.newest_sound() == 20
    assert [State().read(made.path(step)) for step in (10, 20)] == [10.0, 20.0]


def test_a_large_one_is_written_in_parts_each_of_which_is_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(train_state, "PART_BYTES", 1500)  # of 4000
    made = saved(tmp_path, [3.0, 2.0])
    parts = sorted(name for name in os.listdir(made.path(20)) if ".data-" in name)
    assert parts == [f"state.data-0000{i}-of-00003" for i in range(3)]
    assert State().read(made.path(20)) == 20.0
    for part in parts:
        assert checkpoints.find_fault(made.path(20)) is None
        flip_a_bit(Path(made.path(20), part))
        assert checkpoints.find_fault(made.path(20)) == f"{part} is damaged"
        flip_a_bit(Path(made.path(20), part))


def test_the_newest_and_the_best_are_kept(tmp_path):
    made = saved(tmp_path, [3.0, 1.0, 2.0, 2.5, None, None], keep=2)
    assert made.steps() == [20, 50, 60]
    assert made.best() == 20
    assert (made.choose("best"), made.choose("newest")) == (20, 60)
    assert sorted(os.listdir(tmp_path)) == ["step_20", "step_50", "step_60"]


def test_the_best_may_be_the_greatest_and_who_reads_knows_by_what(tmp_path):
    made, state = Checkpoints(str(tmp_path), keep=1, best_metric="val_bleu"), State()
    for step, bleu in ((10, 5.0), (20, 9.0), (30, 7.0), (40, None)):
        figures = {"val_loss": float(step)} | ({"val_bleu": bleu} if bleu else {})
        made.save(state, step, figures)
    assert made.steps() == [20, 40]
    assert Checkpoints(str(tmp_path)).choose("best") == 20  # as evaluation and export ask
    assert Checkpoints(str(tmp_path), best_metric="val_loss").best() == 20
    made.save(state, 50, {"val_bleu": 8.0})
    assert Checkpoints(str(tmp_path)).choose("best") == 20


def test_without_evaluation_the_best_is_the_newest_and_a_line_says_so(tmp_path):
    lines = []
    made = saved(tmp_path, [None, None], best_metric="val_bits_per_byte")
    assert made.choose("best", report=lines.append) == 20
    (line,) = lines
    assert "no evaluation found a val_bits_per_byte; taking the newest instead of the best" in line
    assert made.choose("newest", report=lines.append) == 20 and len(lines) == 1


@pytest.mark.parametrize("no_number", [float("nan"), float("inf"), float("-inf")])
def test_a_figure_that_is_no_number_is_not_the_best(tmp_path, no_number):
    made = saved(tmp_path / "first", [no_number, 2.0, 1.0])
    assert made.ranked() == [30, 20]
    made = saved(tmp_path / "second", [2.0, no_number, 3.0, 4.0], keep=1)
    assert made.steps() == [10, 40]


def truncate(path):
    os.truncate(path, os.path.getsize(path) // 2)


def flip_a_bit(path):
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2] ^= 1
    Path(path).write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, os.remove])
@pytest.mark.parametrize("name", ["state.index", "state.data-00000-of-00001", "meta.json"])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path, damage, name):
    made = saved(tmp_path, [3.0, 2.0])
    damage(os.path.join(made.path(20), name))
    if damage is flip_a_bit and name == "meta.json":
        assert checkpoints.read_meta(made.path(20)) is None or checkpoints.find_fault(made.path(20))
    lines = []
    assert made.newest_sound(report=lines.append) == 10
    (line,) = lines
    assert line.startswith(made.path(20)) and line.endswith("; going back to step 10")
    assert name in line or name == "meta.json"


def test_where_all_are_damaged_training_does_not_begin_anew_in_silence(tmp_path):
    made = saved(tmp_path, [3.0, 2.0])
    for step in made.steps():
        truncate(os.path.join(made.path(step), "state.index"))
    with pytest.raises(UserError, match="state.index is damaged, and no other checkpoint is whole"):
        made.newest_sound()


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(tmp_path):
    made = saved(tmp_path, [3.0, 2.0])
    truncate(os.path.join(made.path(20), "state.index"))
    made.save(State(), 20, {})
    assert made.newest_sound() == 20


def test_damaged_ones_that_are_set_aside_take_no_place_of_new_ones(tmp_path):
    made = saved(tmp_path, [1.0, 2.0, 3.0], keep=1)
    assert made.steps() == [10, 30]
    truncate(os.path.join(made.path(30), "state.index"))
    assert made.newest_sound() == 10
    made.set_aside(10)
    made.save(State(), 20, {})
    made.annotate(20, {"val_loss": 2.0}, {})
    assert made.newest_sound() == 20 and made.best() == 10
    assert sorted(os.listdir(tmp_path)) == ["step_10", "step_20", "step_30.damaged"]


def test_what_a_killed_process_left_is_no_checkpoint_and_goes(tmp_path):
    made = saved(tmp_path, [3.0])
    shutil.copytree(made.path(10), os.path.join(tmp_path, "step_20.tmp"))
    assert made.newest_sound() == 10
    made.save(State(), 30, {})
    assert sorted(os.listdir(tmp_path)) == ["step_10", "step_30"]


@pytest.mark.parametrize("other", [State(7), tf.train.Checkpoint(nothing=tf.Variable(0.0))])
def test_a_checkpoint_of_something_else_is_refused_with_a_sentence(tmp_path, other):
    made = saved(tmp_path, [3.0])
    state = getattr(other, "all", other)
    with pytest.raises(UserError, match="was made by another model or optimizer"):
        train_state.restore(state, made.path(10))


def test_a_checkpoint_is_found_by_its_model_dir_or_its_own_path(tmp_path):
    made = saved(tmp_path / "checkpoints", [3.0, 2.0])
    assert checkpoints.find(str(tmp_path)) == made.path(20)
    assert checkpoints.find(made.path(10)) == made.path(10)
    with pytest.raises(UserError, match="there is no checkpoint; train first"):
        checkpoints.find(str(tmp_path / "nothing"))


def test_save_soon_returns_when_the_state_may_change_and_wait_when_all_is_there(tmp_path):
    made, state = Checkpoints(str(tmp_path)), State()
    state.variable.assign(tf.fill([1000], 10.0))
    made.save_soon(state, 10, {"val_loss": 1.0})
    state.variable.assign(tf.fill([1000], 11.0))
    made.wait()
    assert made.newest_sound() == 10
    assert State().read(made.path(10)) == 10.0


def test_an_error_of_the_thread_is_raised_by_what_comes_next(tmp_path, monkeypatch):
    made = Checkpoints(str(tmp_path))

    def no_room(path, meta):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoints, "write_meta", no_room)
    made.save_soon(State(), 10, {})
    with pytest.raises(OSError, match="No space left"):
        made.wait()
    assert made.newest_sound() is None


def test_a_checkpoint_is_annotated_without_touching_its_state(tmp_path):
    made = saved(tmp_path, [3.0, 2.0], keep=1)
    assert made.steps() == [20]
    made.annotate(20, {"val_loss": 1.0}, {"evaluation_due": False})
    assert made.notes(20) == {"evaluation_due": False}
    assert made.newest_sound() == made.best() == 20


def test_a_worker_that_is_not_the_chief_writes_nothing(tmp_path):
    made = Checkpoints(str(tmp_path / "checkpoints"), writes=False)
    made.save(State(), 10, {})
    made.annotate(10, {}, {})
    assert not os.path.exists(tmp_path / "checkpoints")


def test_several_are_chosen_by_age_or_by_rank_without_damaged_ones(tmp_path):
    made = saved(tmp_path, [3.0, 1.0, 2.0, 2.5, None], keep=2, keep_best=3)
    assert made.steps() == [20, 30, 40, 50]
    assert made.choose_several("newest", 3) == [30, 40, 50]
    assert made.choose_several("best", 2) == [20, 30]
    truncate(os.path.join(made.path(30), "state.index"))
    lines = []
    assert made.choose_several("newest", 3, report=lines.append) == [20, 40, 50]
    assert lines == [f"{made.path(30)}: state.index is damaged; leaving it out of the average"]
    with pytest.raises(UserError, match="has 2 evaluated checkpoints.*keep_best_checkpoints = 3"):
        made.choose_several("best", 3, report=lines.append)
    with pytest.raises(UserError, match="has 3 checkpoints.*train.keep_checkpoints = 4"):
        made.choose_several("newest", 4, report=lines.append)


def test_what_is_taken_is_named():
    assert checkpoints.name_of([1000]) == "step 1,000"
    assert checkpoints.name_of([10, 20, 1000]) == "the mean of steps 10, 20 and 1,000"
