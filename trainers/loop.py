"""The loop of training: steps, reports, evaluations, checkpoints, and what cuts it short."""

import numpy as np

from trainers import strategies
from trainers.callbacks.states import CallbackStates
from trainers.callbacks.watching import is_ours
from trainers.errors import Interrupted, UserError
from trainers.recovery import fault_of, told
from trainers.schedules import last_rate


class Loop:
    """Trains from where a run is to its last step.

    A checkpoint is written before each evaluation, which adds its figures to it: a run that
    is stopped in an evaluation begins it again. On a cluster every worker runs
    the loop and takes the same turns.

    Args:
      state: train_state.TrainState, restored.
      saved: checkpoints.Checkpoints.
      feed: Feed, which stands at step `now`.
      evaluation: metrics.Evaluation, or None.
      watching: keras.callbacks.CallbackList, see callbacks/watching.py.
      throughput: Throughput.
      recovery: Recovery.
      interruption: Interruption.
      notes: of the checkpoint that the run goes on from; {} for none.
      now, steps: the step to go on from, and the last one.
      report_every, evaluate_every, checkpoint_every: steps.
    """

    def __init__(
        self,
        state,
        saved,
        feed,
        evaluation,
        watching,
        throughput,
        recovery,
        interruption,
        notes,
        now,
        steps,
        report_every,
        evaluate_every,
        checkpoint_every,
    ):
        self.state = state
        self.step = feed.step
        self.strategy = feed.step.strategy
        self.model = feed.step.model
        self.saved = saved
        self.feed = feed
        self.evaluation = evaluation
        self.watching = watching
        self.throughput = throughput
        self.recovery = recovery
        self.interruption = interruption
        self.steps = steps
        self.evaluate_every = evaluate_every
        self.checkpoint_every = checkpoint_every
        self.periods = report_every, evaluate_every, checkpoint_every
        self.now = self.saved_at = now
        self.notes_at_first = notes
        self.take(notes)
        self.callback_states = CallbackStates(
            [each for each in watching.callbacks if not is_ours(each)]
        )

    def run(self):
        """Raises Interrupted, and UserError where the loss or its gradient stays no number."""
        self.interruption.wait_for_reports()
        self.watching.on_train_begin()
        self.callback_states.set(self.notes_at_first.get("callbacks", []))
        if self.notes_at_first.get("ended_by") == self.callback_states.chosen():
            print(
                f"a callback ended training at step {self.now:,}; with other callbacks it goes on"
            )
            self.model.stop_training = True
        self.watching.on_epoch_begin(self.now // self.evaluate_every)
        while self.due or not self.is_finished():
            if self.is_asked_to_stop():
                self.save()
                self.saved.wait()
                # Whoever sees a worker leave may end the chief, which is still saving.
                strategies.wait_for_all(self.strategy)
                raise Interrupted(
                    f"{self.interruption.reason or 'another worker'}: stopped and saved at step "
                    f"{self.now:,} of {self.steps:,}; the same command goes on"
                )
            if self.due:
                self.evaluate()
            else:
                self.train()
        self.save()  # where a callback has ended it
        self.saved.wait()
        self.watching.on_train_end()

    def train(self):
        """Steps to the next report, evaluation or checkpoint."""
        count = min(self.steps - self.now, *(every - self.now % every for every in self.periods))
        self.watching.on_train_batch_begin(self.now)
        results = self.feed.run(count, self.throughput)
        fault = self.recovery.first_fault(
            results, self.step.loss_scale.variables, self.logs.get("loss")
        )
        if fault is not None:
            self.go_back(fault, results)
            return
        self.now += count
        self.logs = self.report(results)
        self.watching.on_train_batch_end(self.now, self.logs)
        self.due = self.now % self.evaluate_every == 0 or self.now == self.steps
        if self.due or self.now % self.checkpoint_every == 0:
            self.save()

    def evaluate(self):
        evaluated, number = {}, (self.now - 1) // self.evaluate_every + 1
        with self.step.averaged():
            if self.evaluation:
                found = self.evaluation.run(self.is_asked_to_stop)
                if found is None:
                    return
                evaluated = {f"val_{name}": value for name, value in found.items()}
            for callback in self.watching.callbacks:
                if hasattr(callback, "on_evaluation"):
                    found = callback.on_evaluation(self.now, number, self.interruption.asked)
                    if found is None:
                        return
                    evaluated |= found
            self.watching.on_epoch_end(number - 1, self.logs | evaluated)
        self.due = False
        self.saved.annotate(self.now, evaluated, self.notes())
        self.watching.on_epoch_begin(self.now // self.evaluate_every)

    def go_back(self, fault, results):
        """To the newest checkpoint, from where training leaves out what went wrong here."""
        first, last = self.now + fault, self.now + len(results) - 1
        what = fault_of(results[fault], self.step.loss_scale.variables)
        newest = self.newest_sound()
        if newest is None or self.recovery.is_spent:
            raise UserError(
                f"step {first + 1}: {told(what)}; checkpoints up to step {newest or 0} are whole. "
                "Lower LEARNING_RATE, or warm up for longer"
            )
        self.saved.set_aside(newest)
        batches = self.recovery.skip(first, last)
        self.state.read(self.saved.path(newest))
        self.now = self.saved_at = newest
        self.take({**self.saved.notes(newest), **self.recovery.state()})
        self.feed.begin(newest, self.recovery.skipped)
        event = {"event": "went back", "to_step": newest, "skipped_batches": batches}
        for callback in self.watching.callbacks:
            if hasattr(callback, "on_go_back"):
                callback.on_go_back(newest, {"step": first + 1, **what, **event})

    def newest_sound(self):
        """The step of the chief's newest sound checkpoint, or None; every worker must ask.

        Others would list the folder while the chief still writes to it.
        """
        newest = self.saved.newest_sound() if self.saved.writes else None
        (newest,) = strategies.told_by_chief(self.strategy, [-1 if newest is None else newest])
        return None if newest < 0 else int(newest)

    def is_finished(self):
        return self.now >= self.steps or self.any_worker(self.model.stop_training)

    def is_asked_to_stop(self):
        return self.any_worker(self.interruption.asked())

    def any_worker(self, flag):
        return strategies.any_worker(self.strategy, flag)

    def save(self):
        if self.saved_at != self.now:
            self.state.gather()
            self.saved.save_soon(self.state, self.now, {}, self.notes())
            self.saved_at = self.now

    def notes(self):
        return {
            "evaluation_due": self.due,
            "logs": self.logs,
            "callbacks": self.callback_states.get(),
            "ended_by": self.callback_states.chosen() if self.model.stop_training else None,
            **self.recovery.state(),
        }

    def take(self, notes):
        """The opposite of `notes`."""
        self.due = notes.get("evaluation_due", False)
        self.logs = notes.get("logs", {})
        self.recovery.restore(notes)

    def report(self, results):
        """Logs of the steps since the last report.

        Args:
          results: float32 [N, ...], see TrainStep.run.
        """
        loss, weight, _, *measures = np.sum(results, axis=0, dtype=np.float64)
        meta = self.feed.plan.store.meta
        return {
            **self.step.objective.figures([loss, weight, *measures], meta),
            "gradient_norm": float(results[-1, 2]),
            "learning_rate": last_rate(self.step.optimizer),
            **self.step.loss_scale.report(),
            **self.throughput.report(),
        }
