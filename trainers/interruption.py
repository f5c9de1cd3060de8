"""What ends a run before it is finished: signals, and a limit of wall-clock time."""

import os
import signal
import sys
import threading
import time

from trainers.errors import LEFT, Interrupted
from trainers.startup import BEGAN

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Turns SIGINT, SIGTERM and the end of a time into a question that training asks.

    While it is entered, a signal raises Interrupted; between `wait_for_reports` and
    `wait_no_more` it makes `asked` true instead. A second SIGINT leaves the process at once.
    Signals are read by a thread, for the main one hears of them only between two calls of
    TensorFlow.

    Args:
      max_seconds: from the start of the process until `asked` is true, early enough for what
        lies between two questions to be done once more; None for no limit.
    """

    def __init__(self, max_seconds=None):
        self.max_seconds = max_seconds
        self.reason = None
        self.at_once = True
        self.asked_at = None
        self.longest = 0.0
        self.in_main_thread = threading.current_thread() is threading.main_thread()

    def __enter__(self):
        if self.in_main_thread:  # others may not set handlers
            self.reader, self.writer = os.pipe()
            os.set_blocking(self.writer, False)
            self.wakeup = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
            self.handlers = self.take_signals()
            self.thread = threading.Thread(target=self.listen, daemon=True)
            self.thread.start()
        return self

    def __exit__(self, *exception):
        if self.in_main_thread:
            for number, handler in self.handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self.wakeup)
            os.close(self.writer)  # ends the thread
            self.thread.join()
            os.close(self.reader)

    def take_signals(self):
        """The handlers that there were."""
        return {number: signal.signal(number, self.handle) for number in SIGNALS}

    def wait_for_reports(self):
        self.at_once = False
        if self.in_main_thread:
            self.take_signals()  # TensorFlow has taken SIGTERM where it joined a cluster
        if self.reason:
            raise Interrupted(self.at_once_because(self.reason))

    def handle(self, number, frame):
        if self.at_once:
            raise Interrupted(self.at_once_because(signal.Signals(number).name))

    def wait_no_more(self):
        self.at_once = True

    def at_once_because(self, reason):
        return f"{reason}: stopped; the same command goes on"

    def listen(self):
        """Notes the first signal and leaves at a SIGINT after it."""
        while numbers := os.read(self.reader, 1):
            number = signal.Signals(numbers[0])
            if self.reason and number == signal.SIGINT:
                os._exit(LEFT)
            if number in SIGNALS:
                self.reason = number.name
                if not self.at_once:
                    note = "saves after the steps at hand and stops; Ctrl-C leaves at once"
                    print(f"{number.name}: {note}", file=sys.stderr, flush=True)

    def asked(self):
        """Whether the run is to end now."""
        now = time.monotonic()
        if self.asked_at is not None:
            self.longest = max(self.longest, now - self.asked_at)
        self.asked_at = now
        if self.max_seconds is not None and now - BEGAN + self.longest >= self.max_seconds:
            self.reason = self.reason or f"MAX_SECONDS = {self.max_seconds}"
        return self.reason is not None
