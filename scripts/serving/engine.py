"""Continuous batching: one thread owns the running batch; prompts join and leave between turns."""

import collections
import itertools
import threading
import time

from absl import logging

from serving import errors
from serving.batch import Batch
from serving.jobs import Job, Piece, Token
from serving.metrics import Metrics
from serving.token_texts import EOS, TokenTexts
from trainers.text_stream import UNFINISHED, TextStream

ASKS_AGAIN_S = 0.005  # so long the others wait for who has been answered, who may ask again
READ_TOGETHER = 4  # prompts; more at once are read no faster each, and their texts begin later


class Row:
    """A text that is being drawn."""

    def __init__(self, job, index):
        self.job = job
        self.index = index
        self.stream = TextStream(job.stop)
        self.num_tokens = 0
        self.held = []  # tokens whose text is not sent yet
        self.whole = 0  # characters that will not change
        self.complete = False
        self.last_time = job.arrived


class Engine:
    """Decodes many prompts at once.

    `start()` runs `turn()` in a thread until `close()`; tests may call `turn()` themselves.

    Args:
      export: the loaded SavedModel.
      max_batch_size: rows of the running batch.
      max_queue: prompts that may wait for a row.
      timeout_s: how long a prompt may take, from its arrival on.
      steps_at_once: tokens of each text, with a draft steps, between which no prompt joins and no
        text is sent but for each text's first. More are faster: the caches are copied as often.
    """

    def __init__(
        self,
        export,
        max_batch_size=16,
        max_queue=256,
        timeout_s=600.0,
        steps_at_once=1,
        metrics=None,
    ):
        self.export = export
        self.steps_at_once = steps_at_once
        self.max_batch_size = max_batch_size
        self.running = Batch(export, max_batch_size)  # its keys are `Row`s; the thread's own
        self.token_texts = TokenTexts(export)
        self.max_queue = max_queue
        self.timeout_s = timeout_s
        self.metrics = metrics or Metrics()
        self.metrics.waiting.set_function(lambda: len(self.waiting))
        self.metrics.running.set_function(lambda: len(self.running.keys))
        self.answered = 0  # prompts, since others last joined
        self.changed = threading.Condition()  # guards what follows
        self.waiting = collections.deque()
        self.unfinished = set()
        self.accepting = True
        self.closed = False
        self.thread = threading.Thread(target=self.run, name="engine", daemon=True)

    def warm_up(self):
        """Draws two tokens with every number of rows, so that what is compiled at first use is."""
        size = 1
        while True:
            job = Job("a", {"max_new_tokens": 2}, n=min(size, self.max_batch_size))
            batch, _ = self.begin([job])
            batch.step()
            if size >= self.max_batch_size:
                return
            size *= 2

    def start(self):
        self.thread.start()

    def submit(self, jobs):
        """Queues prompts, all or none.

        Raises:
          ApiError: too many wait already, or the engine is stopping.
        """
        with self.changed:
            self.check_room(len(jobs))
            self.waiting.extend(jobs)
            self.unfinished.update(jobs)
            self.changed.notify_all()

    def check_room(self, count):
        """Raises ApiError where so many prompts more are not taken now."""
        with self.changed:
            if not self.accepting:
                raise errors.stopping()
            if len(self.waiting) + count > self.max_queue:
                raise errors.overloaded(self.max_queue)

    def cancel(self, jobs):
        """Nobody waits for these any more; those that are finished may be among them."""
        with self.changed:
            for job in self.unfinished.intersection(jobs):
                job.cancelled = True
            self.changed.notify_all()

    def drain(self, grace_s):
        """Accepts nothing new, finishes what there is for so many seconds, ends the rest."""
        with self.changed:
            self.accepting = False
            self.changed.wait_for(lambda: not self.unfinished, grace_s)
            late = list(self.unfinished)
        for job in late:
            self.finish(job, errors.stopping())

    def close(self):
        with self.changed:
            self.accepting = False
            self.closed = True
            self.changed.notify_all()
        if self.thread.is_alive():
            self.thread.join(timeout=10)

    def run(self):
        while self.wait_for_work():
            self.turn()

    def wait_for_work(self):
        with self.changed:
            self.changed.wait_for(lambda: self.closed or self.unfinished or self.running.keys)
            return not self.closed

    def turn(self):
        """Lets prompts leave and join, then draws tokens in every row."""
        try:
            self.drop()
            self.expect()
            self.admit()
            if self.running.keys:
                self.step(self.running, self.steps_at_once)
        except Exception:
            logging.exception("the running batch failed and starts anew")
            self.running = Batch(self.export, self.max_batch_size)
            with self.changed:
                jobs = self.unfinished.difference(self.waiting)
            for job in jobs:
                self.finish(job, errors.failed())

    def drop(self):
        """Whatever nobody waits for, or too long, leaves."""
        with self.changed:
            jobs = list(self.unfinished)
        oldest = time.monotonic() - self.timeout_s
        for job in jobs:
            if job.cancelled:
                self.finish(job)
            elif job.arrived < oldest:
                self.finish(job, errors.timed_out(self.timeout_s))
        with self.changed:
            live = self.unfinished.copy()
        self.running.remove([row for row in self.running.keys if row.job not in live])

    def expect(self):
        """Waits a moment for who has just been answered: asked now, the next need wait for no turn."""
        with self.changed:
            if self.running.keys:
                self.changed.wait_for(
                    lambda: not self.accepting or len(self.waiting) >= self.answered, ASKS_AGAIN_S
                )
        self.answered = 0

    def admit(self):
        """As many of the waiting prompts as have room join, first come, first served."""
        while jobs := self.next_jobs():
            for batch, drawn in self.begun(jobs):
                self.deliver(batch, drawn)
                self.running.add(batch)

    @property
    def room(self):
        """How many rows more the running batch may have."""
        return self.max_batch_size - len(self.running.keys)

    def next_jobs(self):
        """Takes those off the queue that come next, and can be started together."""
        room = self.room
        with self.changed:
            n = self.waiting[0].n if self.waiting else 1
            alike = itertools.takewhile(lambda job: job.n == n, self.waiting)
            count = len(list(itertools.islice(alike, min(READ_TOGETHER, room // n))))
            # A power of two, so that no other number has to be compiled.
            return [self.waiting.popleft() for _ in range(1 << count.bit_length() >> 1)]

    def begun(self, jobs):
        """Batches of new rows and what they begin with; what cannot be is finished with an error."""
        try:
            return [self.begin(jobs)]
        except Exception:
            if len(jobs) > 1:
                return [begun for job in jobs for begun in self.begun([job])]
            logging.exception("a prompt could not be started")
            self.finish(jobs[0], errors.failed())
            return []

    def begin(self, jobs):
        prompts, settings = [job.prompt for job in jobs], [job.settings for job in jobs]
        rows = [Row(job, job.first_index + i) for job in jobs for i in range(job.n)]
        return Batch.start(self.export, self.max_batch_size, prompts, settings, rows)

    def step(self, batch, steps=1):
        try:
            drawn = batch.step(steps)
        except Exception:
            logging.exception("a step failed")
            self.fail_the_guilty(batch, steps)
        else:
            self.deliver(batch, drawn)

    def deliver(self, batch, drawn):
        """Sends what was drawn; texts that are complete leave the batch."""
        for row, its in drawn.items():
            self.advance(row, its)
        done = [row for row in drawn if row.complete]
        batch.remove(done)
        for job in {row.job for row in done}:
            if all(row.job is not job for row in batch.keys):
                self.finish(job)
                self.answered += 1

    def advance(self, row, drawn):
        """Delivers what a step has added to a row."""
        self.observe(row, drawn.num_tokens - row.num_tokens)
        *earlier, whole = self.texts(row, drawn)
        for text in earlier:
            self.add(row, drawn, text, row.num_tokens + 1, ended=False)
            if row.complete:
                return
        self.add(row, drawn, whole, drawn.num_tokens, drawn.ended)

    def texts(self, row, drawn):
        """A row's text after each token of a step, where it matters; else after all of them.

        Of several that are drawn at once the first may complete a stop string.
        """
        matters = row.job.stop or row.job.alternatives is not None
        if drawn.num_tokens - row.num_tokens <= 1 or not matters:
            return [drawn.text]
        texts = self.token_texts.detokenize(drawn.prefixes(row.num_tokens))
        # Alone a text may begin otherwise than behind its prompt.
        longer = len(drawn.text) - len(texts[-1])
        earlier = [drawn.text[: longer + len(text.rstrip(UNFINISHED))] for text in texts[:-1]]
        return [*earlier, drawn.text]

    def add(self, row, drawn, text, count, ended):
        """Delivers what `count` tokens have made of a row's text."""
        job = row.job
        piece, stopped = row.stream.feed(text, ended)
        if job.alternatives is not None:
            tokens = drawn.tokens(row.num_tokens, count, job.alternatives)
            row.held += self.with_texts(tokens, row.whole)
            row.whole = len(text.rstrip(UNFINISHED))
        row.num_tokens = count

        reason = None
        if stopped or ended:
            reason = "stop" if stopped or drawn.finished else "length"
        row.complete = bool(reason)
        all_sent = ended and not stopped
        tokens = [token for token in row.held if all_sent or token.offset < row.stream.sent]
        row.held = row.held[len(tokens) :]
        if piece or tokens or reason:
            job.deliver(Piece(row.index, piece, tokens, reason, row.num_tokens))

    def with_texts(self, tokens, offset):
        """[Token]; the ending <eos> is none."""
        tokens = [token for token in tokens if token[0] != EOS]
        alternatives = [other for _, _, top in tokens for other, _ in top]
        texts = self.token_texts([token for token, _, _ in tokens] + alternatives)
        return [
            Token(texts[token], value, [(texts[other], its) for other, its in top], offset)
            for token, value, top in tokens
        ]

    def observe(self, row, count):
        now = time.monotonic()
        if count and not row.num_tokens:
            self.metrics.first_token.observe(now - row.last_time)
        elif count:
            self.metrics.per_token.observe((now - row.last_time) / count)
        self.metrics.generated_tokens.inc(count)
        row.last_time = now

    def fail_the_guilty(self, batch, steps):
        """After a step that raised: ends those that raise alone too; all, if none does."""
        rows = collections.defaultdict(list)
        for row in batch.keys:
            rows[row.job].append(row)
        guilty = [job for job, its in rows.items() if self.fails_alone(batch, its, steps)]
        for job in guilty or rows:
            self.finish(job, errors.failed())
            batch.remove(rows[job])

    def fails_alone(self, batch, rows, steps):
        """Whether so many steps raise with no other rows than these. Changes nothing."""
        try:
            batch.only(rows).step(steps)
        except Exception:
            return True
        return False

    def finish(self, job, error=None):
        with self.changed:
            if job not in self.unfinished:
                return
            self.unfinished.remove(job)
            if job in self.waiting:
                self.waiting.remove(job)
            self.changed.notify_all()
        if error:
            job.deliver(error)
