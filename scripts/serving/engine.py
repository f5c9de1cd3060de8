"""Continuous batching: one thread owns the running batch; prompts join and leave between steps."""

import collections
import threading
import time

from absl import logging

from serving import errors
from serving.batch import Batch
from serving.jobs import Piece, Token
from serving.metrics import Metrics
from serving.token_texts import EOS, TokenTexts
from trainers.text_stream import UNFINISHED, TextStream


class Row:
    """A text that is being drawn."""

    def __init__(self, job, index):
        self.job = job
        self.index = index
        self.stream = TextStream(job.stop)
        self.num_tokens = 0
        self.held = []  # tokens whose text is not sent yet
        self.whole = 0  # characters that will not change
        self.last_time = job.arrived


class Engine:
    """Decodes many prompts at once.

    `start()` runs `turn()` in a thread until `close()`; tests may call `turn()` themselves.

    Args:
      export: the loaded SavedModel.
      max_batch_size: rows of the running batch.
      max_queue: prompts that may wait for a row.
      timeout_s: how long a prompt may take, from its arrival on.
    """

    def __init__(self, export, max_batch_size=16, max_queue=256, timeout_s=600.0, metrics=None):
        self.batch = Batch(export, max_batch_size)
        self.token_texts = TokenTexts(export)
        self.max_queue = max_queue
        self.timeout_s = timeout_s
        self.metrics = metrics or Metrics()
        self.metrics.waiting.set_function(lambda: len(self.waiting))
        self.metrics.running.set_function(lambda: len(self.rows))
        self.rows = {}  # {place in the batch: Row}, the thread's own
        self.changed = threading.Condition()  # guards what follows
        self.waiting = collections.deque()
        self.unfinished = set()
        self.accepting = True
        self.closed = False
        self.thread = threading.Thread(target=self.run, name="engine", daemon=True)

    def warm_up(self):
        """Draws two tokens, so that what is compiled at first use is."""
        self.batch.join("a", [0], max_new_tokens=2)
        self.batch.step()
        self.batch.step()
        self.batch.clear()

    def start(self):
        self.thread.start()

    def submit(self, jobs):
        """Queues prompts, all or none.

        Raises:
          ApiError: too many wait already, or the engine is stopping.
        """
        with self.changed:
            if not self.accepting:
                raise errors.stopping()
            if len(self.waiting) + len(jobs) > self.max_queue:
                raise errors.overloaded(self.max_queue)
            self.waiting.extend(jobs)
            self.unfinished.update(jobs)
            self.changed.notify_all()

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
            self.changed.wait_for(lambda: self.closed or self.unfinished or self.rows)
            return not self.closed

    def turn(self):
        """Lets prompts leave and join, then draws a token or more in every row."""
        try:
            self.drop()
            self.admit()
            if self.rows:
                self.step()
        except Exception:
            logging.exception("the running batch failed and starts anew")
            for job in {row.job for row in self.rows.values()}:
                self.finish(job, errors.failed())
            self.rows.clear()
            self.batch.clear()

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
        self.free(place for place, row in self.rows.items() if row.job not in live)

    def admit(self):
        """As many of the waiting prompts as have room join, first come, first served."""
        while True:
            places = [place for place in range(self.batch.size) if place not in self.rows]
            with self.changed:
                if not self.waiting or self.waiting[0].n > len(places):
                    return
                job = self.waiting.popleft()
            places = places[: job.n]
            try:
                self.batch.join(job.prompt, places, **job.settings)
            except Exception:
                logging.exception("a prompt could not be started")
                self.finish(job, errors.failed())
                continue
            for i, place in enumerate(places):
                self.rows[place] = Row(job, job.first_index + i)

    def step(self):
        try:
            drawn = self.batch.step()
        except Exception:
            logging.exception("a step failed")
            self.fail_the_guilty()
            return
        for place, row in self.rows.items():
            self.advance(row, place, drawn)
        done = [place for place, row in self.rows.items() if row.job is None]
        ended = {place for place in done if drawn.ended[place]}
        for place in ended:
            del self.rows[place]
        self.free(place for place in done if place not in ended)

    def advance(self, row, place, drawn):
        """Delivers what a step has added to a row; sets its job to None when it is complete."""
        self.observe(row, int(drawn.counts[place]) - row.num_tokens)
        *earlier, whole = self.texts(row, place, drawn)
        for text in earlier:
            self.add(row, place, drawn, text, row.num_tokens + 1, ended=False)
            if row.job is None:
                return
        self.add(row, place, drawn, whole, int(drawn.counts[place]), bool(drawn.ended[place]))

    def texts(self, row, place, drawn):
        """A row's text after each token of a step, where it matters; else after all of them.

        An export with a draft draws several, of which the first may complete a stop string.
        """
        whole, count = drawn.text(place), int(drawn.counts[place])
        matters = row.job.stop or row.job.alternatives is not None
        if count - row.num_tokens <= 1 or not matters:
            return [whole]
        texts = self.token_texts.detokenize(drawn.prefixes(place, row.num_tokens))
        # Alone a text may begin otherwise than behind its prompt.
        longer = len(whole) - len(texts[-1])
        return [*(whole[: longer + len(text.rstrip(UNFINISHED))] for text in texts[:-1]), whole]

    def add(self, row, place, drawn, text, count, ended):
        """Delivers what `count` tokens have made of a row's text."""
        job = row.job
        piece, stopped = row.stream.feed(text, ended)
        if job.alternatives is not None:
            tokens = drawn.tokens(place, row.num_tokens, count, job.alternatives)
            row.held += self.with_texts(tokens, row.whole)
            row.whole = len(text.rstrip(UNFINISHED))
        row.num_tokens = count

        reason = None
        if stopped or ended:
            reason = "stop" if stopped or drawn.finished[place] else "length"
        all_sent = ended and not stopped
        tokens = [token for token in row.held if all_sent or token.offset < row.stream.sent]
        row.held = row.held[len(tokens) :]
        if piece or tokens or reason:
            job.deliver(Piece(row.index, piece, tokens, reason, row.num_tokens))
        if reason:
            row.job = None
            if all(other.job is not job for other in self.rows.values()):
                self.finish(job)

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

    def fail_the_guilty(self):
        """After a step that raised: ends those that raise alone too; all, if none does."""
        places = collections.defaultdict(list)
        for place, row in self.rows.items():
            places[row.job].append(place)
        guilty = [job for job, its in places.items() if self.batch.fails_alone(its)]
        for job in guilty or places:
            self.finish(job, errors.failed())
            self.free(places[job])

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

    def free(self, places):
        places = list(places)
        for place in places:
            del self.rows[place]
        if self.rows:
            self.batch.leave(places)
        else:
            self.batch.clear()
