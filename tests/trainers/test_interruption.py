import os
import signal
import threading
import time

import pytest

from trainers import interruption
from trainers.errors import Interrupted
from trainers.interruption import Interruption


def test_without_a_signal_or_a_limit_nothing_is_asked():
    with Interruption() as asking:
        asking.wait_for_reports()
        assert not asking.asked()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_asked_about_while_training_and_raised_before_and_after(number, capfd):
    with Interruption() as asking:
        with pytest.raises(Interrupted, match=f"{number.name}: stopped; the same command goes on"):
            os.kill(os.getpid(), number)
            time.sleep(1)
    with Interruption() as asking:
        asking.wait_for_reports()
        os.kill(os.getpid(), number)
        end = time.monotonic() + 5
        while not asking.asked() and time.monotonic() < end:
            time.sleep(0.01)
        assert asking.asked() and asking.reason == number.name
    assert f"{number.name}: saves after the steps at hand" in capfd.readouterr().err
    with Interruption() as asking:
        asking.wait_for_reports()
        asking.wait_no_more()
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), number)
            time.sleep(1)


def test_handlers_are_as_they_were_afterwards():
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    with Interruption():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before


def test_another_thread_may_train_as_well():
    found = []

    def train():
        with Interruption() as asking:
            asking.wait_for_reports()
            found.append(asking.asked())

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [False]


def test_time_ends_early_enough_for_one_more_round(monkeypatch):
    now = 100.0
    monkeypatch.setattr(interruption, "BEGAN", 100.0)
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now)
    asking = Interruption(max_seconds=60)
    assert not asking.asked()
    now = 120.0
    assert not asking.asked()  # a round takes 20 s, of which one more ends at 140
    now = 139.0
    assert not asking.asked()
    now = 141.0
    assert asking.asked() and asking.reason == "MAX_SECONDS = 60"
