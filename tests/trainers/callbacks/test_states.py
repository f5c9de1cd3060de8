import json

import keras
import numpy as np
import pytest

from trainers.callbacks.states import CallbackStates


class Counter(keras.callbacks.Callback):
    def __init__(self, limit=3):
        super().__init__()
        self.limit = limit
        self.count = 0
        self.best = np.inf


def test_what_has_changed_comes_back_through_json_and_what_was_chosen_does_not():
    counter = Counter(limit=3)
    states = CallbackStates([counter])
    counter.count, counter.best = 2, np.float32(0.5)
    kept = json.loads(json.dumps(states.get()))
    assert kept == [["Counter", {"count": 2, "best": 0.5}]]
    again = Counter(limit=7)
    CallbackStates([again]).set(kept)
    assert (again.limit, again.count, again.best) == (7, 2, 0.5)


@pytest.mark.parametrize("min_delta", [0, 0.05])
def test_early_stopping_keeps_its_patience(min_delta):
    def stopping():
        callback = keras.callbacks.EarlyStopping("val_loss", patience=3, min_delta=min_delta)
        callback.set_model(keras.Sequential())
        callback.on_train_begin()
        return callback, CallbackStates([callback])

    whole, _ = stopping()
    stopped, states = stopping()
    losses = [3.0, 2.0, 2.5, 2.4, 2.3]
    for epoch, loss in enumerate(losses):
        for callback in (whole, stopped):
            callback.on_epoch_end(epoch, {"val_loss": loss})
        kept = json.loads(json.dumps(states.get()))
        stopped, states = stopping()
        states.set(kept)
        assert (stopped.wait, stopped.best, stopped.stopped_epoch) == (
            whole.wait,
            whole.best,
            whole.stopped_epoch,
        )
    assert whole.stopped_epoch == 4


def test_each_gets_what_one_of_its_class_had_in_order():
    counters = [Counter(), Counter(), Counter()]
    states = [["EarlyStopping", {"count": 9}], ["Counter", {"count": 8}], ["Counter", {"count": 7}]]
    CallbackStates(counters).set(states)
    assert [counter.count for counter in counters] == [8, 7, 0]
