"""The engine, turned by hand, so that what happens between two steps is known."""

import concurrent.futures
import time

import pytest
from serving.engine import Engine
from serving.errors import ApiError
from serving.jobs import Job

from tests.scripts.serving.parrot import Parrot

SAMPLED = {"temperature": 1.0, "seed": 7}


class Listener:
    """A job and what was delivered for it."""

    def __init__(self, prompt, max_new_tokens=8, n=1, settings=None, **options):
        self.events = []
        settings = {"max_new_tokens": max_new_tokens, **(settings or {})}
        self.job = Job(prompt, settings, n=n, deliver=self.events.append, **options)

    def text(self, index=0):
        return "".join(event.text for event in self.events if event.index == index)

    @property
    def reason(self):
        return self.events[-1].finish_reason

    @property
    def status(self):
        return self.events[-1].status


@pytest.fixture
def parrot():
    return Parrot()


@pytest.fixture
def engine(parrot):
    return Engine(parrot, max_batch_size=4, max_queue=8)


@pytest.fixture(params=[(1, 1), (2, 1), (5, 1), (1, 4), (2, 3)], ids="{0[0]} by {0[1]}".format)
def any_engine(request):
    """Of an export without a draft, and of some with one; that draws once a turn or several times."""
    per_step, steps = request.param
    return Engine(Parrot(per_step=per_step), max_batch_size=4, max_queue=8, steps_at_once=steps)


def submit(engine, *arguments, **options):
    listener = Listener(*arguments, **options)
    engine.submit([listener.job])
    return listener


def finish(engine):
    for _ in range(200):
        if not engine.unfinished:
            return
        engine.turn()
    raise AssertionError("the engine does not come to an end")


def test_prompts_join_and_leave_between_steps(engine):
    first = submit(engine, "abcdef", 6)
    engine.turn()  # its first token, and one with all
    assert first.text() == "ab"
    second = submit(engine, "xyz", 3)
    engine.turn()
    assert (first.text(), second.text()) == ("abc", "xy")
    engine.turn()
    assert (first.text(), second.text()) == ("abcd", "xyz")
    assert second.reason == "length"
    assert len(engine.running.keys) == 1
    finish(engine)
    assert first.text() == "abcdef"


def test_the_first_token_is_sent_alone_and_then_several_at_once(parrot):
    engine = Engine(parrot, max_batch_size=4, steps_at_once=3)
    first = submit(engine, "abcdefgh", 6)
    engine.admit()
    assert first.text() == "a"
    engine.turn()
    assert first.text() == "abcd"
    second = submit(engine, "xyz", 3)
    engine.turn()
    assert (first.text(), second.text()) == ("abcdef", "xyz")
    assert not engine.unfinished


def test_the_others_wait_a_moment_for_who_was_answered_and_asks_again(parrot, monkeypatch):
    monkeypatch.setattr("serving.engine.ASKS_AGAIN_S", 60.0)  # however slow a machine is
    engine = Engine(parrot, max_batch_size=2, steps_at_once=4)
    long, short = submit(engine, "abcdefghijklmnopqrstuvwxyz", 26), submit(engine, "xy", 2)
    engine.turn()
    assert (len(long.text()), short.text()) == (5, "xy")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        turn = pool.submit(engine.turn)
        with pytest.raises(TimeoutError):
            turn.result(timeout=0.1)
        third = submit(engine, "uvwxyz", 6)
        turn.result(timeout=30)
    assert (len(long.text()), third.text()) == (9, "uvwxy")
    engine.turn()  # nobody was answered meanwhile
    assert (len(long.text()), third.reason) == (13, "length")
    monkeypatch.setattr("serving.engine.ASKS_AGAIN_S", 0.01)
    engine.turn()  # nor is waited for long
    assert len(long.text()) == 17


def test_a_text_that_ends_with_its_first_token_never_runs(engine, parrot):
    only = submit(engine, "abc", 1)
    engine.turn()
    assert (only.text(), only.reason) == ("a", "length")
    assert not parrot.shapes and not engine.unfinished


def test_a_text_is_the_same_alone_and_in_company(parrot):
    def text(company):
        engine = Engine(parrot, max_batch_size=4)
        for prompt in company:
            submit(engine, prompt, 3, settings={"temperature": 1.0, "seed": 1})
            engine.turn()
        mine = submit(engine, "mine", 12, settings=SAMPLED)
        finish(engine)
        return mine.text()

    assert text([]) == text(["a", "longer than mine is", "c"])


def test_several_texts_of_one_prompt_are_rows_of_one_start(engine, parrot):
    several = submit(engine, "abc", 4, n=3, settings=SAMPLED)
    finish(engine)
    texts = [several.text(i) for i in range(3)]
    assert len(set(texts)) == 3
    assert parrot.starts[-1] == {
        "prompts": ["abc"],
        "max_new_tokens": [4],
        "num_return_sequences": 3,
        "temperature": [1.0],
        "seed": [7],
    }


def test_prompts_that_wait_are_read_together_each_with_its_own_settings(parrot):
    engine = Engine(parrot, max_batch_size=8)
    texts = "abcdefg"
    waiting = [
        submit(engine, text * 3, i + 1, settings={"temperature": i % 2, "seed": i})
        for i, text in enumerate(texts)
    ]
    finish(engine)
    assert [len(start["prompts"]) for start in parrot.starts] == [4, 2, 1]
    for i, text in enumerate(texts):
        alone = submit(engine, text * 3, i + 1, settings={"temperature": i % 2, "seed": i})
        finish(engine)
        assert waiting[i].text() == alone.text()
        assert len(alone.text()) == i + 1


def test_prompts_of_another_kind_are_read_on_their_own(engine, parrot):
    for n in (1, 1, 2, 1):
        submit(engine, "abc", 3, n=n)
    engine.turn()
    assert [len(start["prompts"]) for start in parrot.starts] == [2, 1]
    assert len(engine.running.keys) == 4
    finish(engine)


def test_a_first_token_does_not_wait_for_a_step_of_all(engine, parrot):
    submit(engine, "abcdef", 20, n=3)
    engine.turn()
    parrot.shapes.clear()
    submit(engine, "xy", 20)
    engine.turn()
    assert [rows for rows, _ in parrot.shapes] == [4]


def test_rows_come_in_powers_of_two(parrot):
    engine = Engine(parrot, max_batch_size=12)
    many = [submit(engine, "abc", 2 * i + 2) for i in range(12)]
    finish(engine)
    sizes = [rows for rows, _ in parrot.shapes]
    assert set(sizes) == {1, 2, 4, 8, 12}
    # None is decoded that a smaller number would do for: 3 to 4 rows are 4, 2 are 2, 1 is 1.
    assert sizes[-8:] == [4, 4, 4, 4, 2, 2, 1, 1]
    assert [len(each.text()) for each in many] == [2 * i + 2 for i in range(12)]


def test_a_job_whose_batch_cannot_join_is_not_forgotten(engine, parrot, monkeypatch):
    running = submit(engine, "abc")
    engine.turn()
    late = submit(engine, "def")
    monkeypatch.setattr(parrot, "join", lambda **_: 1 / 0)
    engine.turn()
    assert running.status == late.status == 500
    assert not engine.unfinished


def test_an_empty_batch_forgets_its_longest_row(engine, parrot):
    submit(engine, "abc", 30)
    finish(engine)
    submit(engine, "abc", 3)
    finish(engine)
    assert parrot.shapes[-1][1] == 3


def test_prompts_wait_in_the_order_they_came(engine):
    submit(engine, "abc", 4, n=3)
    wide = submit(engine, "w", 4, n=4)
    late = submit(engine, "l", 1)
    engine.turn()
    assert not wide.events and not late.events
    finish(engine)
    assert wide.reason == late.reason == "length"


def test_a_prompt_that_nobody_waits_for_frees_its_rows(engine):
    gone = submit(engine, "abc", 60, n=4)
    waiting = submit(engine, "x", 3)
    cancelled_in_the_queue = submit(engine, "y", 2)
    engine.turn()
    engine.cancel([gone.job, cancelled_in_the_queue.job])
    engine.turn()
    assert waiting.text() == "xx"
    finish(engine)
    assert not cancelled_in_the_queue.events
    assert not engine.running.keys


def test_a_full_queue_refuses_and_then_takes_again(engine):
    engine.submit([Listener("a", 1).job for _ in range(8)])
    with pytest.raises(ApiError) as refused:
        submit(engine, "b")
    assert refused.value.status == 429
    assert refused.value.headers["Retry-After"]
    finish(engine)
    submit(engine, "b")


def test_an_export_that_raises_at_the_start_fails_one_request(engine):
    good = submit(engine, "good", 4)
    bad = submit(engine, "raise in start")
    finish(engine)
    assert bad.status == 500
    assert good.text() == "good"


def test_an_export_that_raises_in_a_step_fails_whose_row_it_is(engine):
    good = submit(engine, "good", 4)
    engine.turn()
    bad = submit(engine, "raise in next")
    also_good = submit(engine, "fine", 4)
    finish(engine)
    assert bad.status == 500
    assert (good.text(), also_good.text()) == ("good", "fine")
    assert not engine.running.keys


def test_a_batch_that_fails_with_all_its_rows_starts_anew(engine, parrot, monkeypatch):
    rows = [submit(engine, "abc"), submit(engine, "def")]
    engine.turn()
    monkeypatch.setattr(parrot, "next", lambda **_: 1 / 0)
    engine.turn()
    assert [each.status for each in rows] == [500, 500]
    monkeypatch.undo()
    again = submit(engine, "abc", 3)
    finish(engine)
    assert again.text() == "abc"


def test_prompts_end_at_their_deadline(parrot):
    engine = Engine(parrot, max_batch_size=1, timeout_s=0.05)
    running, queued = submit(engine, "abc", 60), submit(engine, "abc", 60)
    engine.turn()
    time.sleep(0.06)
    engine.turn()
    assert running.status == queued.status == 408
    assert not engine.running.keys


def test_a_stop_string_ends_a_row_and_counts_its_tokens(any_engine):
    stopped = submit(any_engine, "abcdef", 20, stop=("de",))
    finish(any_engine)
    assert stopped.text() == "abc"
    assert stopped.reason == "stop"
    assert stopped.events[-1].num_tokens == 5


def test_eos_ends_a_row_and_is_counted_but_is_no_text(any_engine):
    ended = submit(any_engine, "hi!", 20, alternatives=2)
    finish(any_engine)
    assert ended.text() == "hi!"
    assert ended.reason == "stop"
    assert ended.events[-1].num_tokens == 4
    assert [token.text for event in ended.events for token in event.tokens] == ["h", "i", "!"]


def test_tokens_come_with_the_text_they_are_in(any_engine):
    said = submit(any_engine, "aéb--x", 9, alternatives=1, stop=("-x",))
    finish(any_engine)
    assert said.text() == "aéb-"
    sent = 0
    for event in said.events:
        sent += len(event.text)
        assert all(token.offset < sent for token in event.tokens)
    tokens = [(token.text, token.offset) for event in said.events for token in event.tokens]
    assert tokens == [("a", 0), ("\ufffd", 1), ("\ufffd", 1), ("b", 2), ("-", 3)]
    first = said.events[0].tokens[0]
    assert first.log_probability == -0.25
    assert first.alternatives == [("a", -0.25)]


def test_draining_finishes_what_was_accepted_and_ends_what_is_late(engine):
    engine.start()
    soon = submit(engine, "abc", 3)
    late = submit(engine, "slow", 60)
    engine.drain(grace_s=2)
    assert soon.text() == "abc"
    assert late.status == 503
    with pytest.raises(ApiError) as refused:
        submit(engine, "x")
    assert refused.value.status == 503
    engine.close()
    assert not engine.thread.is_alive()


def test_one_thread_alone_touches_the_running_batch(parrot):
    engine = Engine(parrot, max_batch_size=2)
    parrot.threads.clear()
    engine.start()
    submit(engine, "abc")
    engine.drain(grace_s=5)
    engine.close()
    assert parrot.threads == {engine.thread.ident}
