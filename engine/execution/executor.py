"""The durable part's centre: outcomes in, activations, groups out, and effects once they are committed.

    outcome ──► activate ──► append ──► (committed) ──► effects: attempts start, timers are set, results are told

What comes before the commit happens in memory only; what comes behind it is a function of the records that are now
durable (DESIGN rules 1 and 2).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeAlias

import structlog

from durably.engine.body.context import LogLine
from durably.engine.body.ending import conclude
from durably.engine.body.instance import Undecodable
from durably.engine.body.mismatch import unknown_policy
from durably.engine.body.replay import undecodable
from durably.engine.errors import DurablyError, RunConflict, StepError
from durably.engine.execution.admission import Admission
from durably.engine.execution.attempt import Attempt, Attempts, Ended, Perform
from durably.engine.execution.journal import Journal
from durably.engine.execution.live import LiveRun
from durably.engine.execution.messages import publish
from durably.engine.execution.outbox import REACHING, Outbox, Parcel, reaches_out
from durably.engine.execution.outcomes import Outcome, outcome_of
from durably.engine.execution.settings import Settings
from durably.engine.execution.usage import used
from durably.engine.execution.waiters import Waiters
from durably.engine.log.limits import history_too_long, nearly_full, too_long
from durably.engine.log.records import (
    AttemptFailed,
    AttemptStarted,
    BodyFailed,
    Command,
    End,
    Input,
    Record,
    RunCanceled,
    RunContinued,
    RunFailed,
    RunSucceeded,
    StepCanceled,
    StepScheduled,
    encode_record,
)
from durably.engine.log.state import RunState
from durably.engine.loop.budget import CpuBudget
from durably.store import Append, LogRow, Result, RunRow, Written
from durably.store.runtime import SECOND_US, Clock, Randomness

__all__ = ["Executor"]

log = structlog.get_logger("durably")

Appended: TypeAlias = tuple[LiveRun, Sequence[Record], Sequence[LogLine], Parcel | None]
"""What an append leaves for after its commit."""
NewRow: TypeAlias = Callable[[type[LogRow], tuple[int, int, int, bytes]], LogRow]
new_row: NewRow = tuple.__new__  # pyright: ignore  # in the stubs it makes a tuple of unknown things
"""Makes a named tuple in a quarter of the time: two for each step."""

NEARLY_FULL = "80 % of what a history may hold: split the work, or let the run continue_as_new()"
SLOW = "nothing else runs meanwhile; put the computing into a step: a sync one runs in a thread"

UNWIND_US = 10 * SECOND_US
"""How long a following step waits for an interrupted attempt to unwind (DESIGN section 3)."""


class Executor:
    """Drives loaded runs. Who loads them, and what makes them go on, is other modules' business.

    They are handed in: `when_loaded` runs an action once a run is in memory, `arm` wakes a run when its next timer is
    due, `expire` ends a wait whose deadline has come, `rest` says that a run waits, `forget` that it is done with,
    `block` that its code does not fit, `shelve` keeps an outcome of a blocked run, and `watched` stops the engine when
    a callback fails.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        randomness: Randomness,
        journal: Journal,
        outbox: Outbox,
        *,
        resources: Mapping[type[Any], Any],
        perform: Perform | None,
        when_loaded: Callable[[LiveRun, Callable[[], None]], None],
        arm: Callable[[LiveRun], None],
        expire: Callable[[LiveRun, str], None],
        rest: Callable[[LiveRun], None],
        forget: Callable[[LiveRun], None],
        block: Callable[[LiveRun, DurablyError], None],
        shelve: Callable[[LiveRun, Outcome], None],
        watched: Callable[[Ended], Ended],
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.randomness = randomness
        self.journal = journal
        self.outbox = outbox
        self.when_loaded = when_loaded
        self.arm = arm
        self.expire = expire
        self.rest = rest
        self.forget = forget
        self.block = block
        self.shelve = shelve
        self.cpu = CpuBudget(clock.cpu_us, settings.max_cpu)
        self.admission = Admission(settings.max_steps, self._turn)
        self.attempts = Attempts(
            max_threads=settings.max_threads,
            resources=resources,
            ended=watched(self.attempt_ended),
            publish=partial(publish, self),
            perform=perform,
        )
        self.waiters = Waiters()
        self.observers: list[Callable[[LiveRun, Sequence[Record]], None]] = []
        """Told of records that have just become durable: for what people watch, never for what must happen."""

    # -- activations

    def activate(
        self,
        run: LiveRun,
        record: Input,
        *,
        before: Sequence[Record] = (),
        created: RunRow | None = None,
        taken: tuple[int, ...] = (),
        now_us: int | None = None,
    ) -> bool:
        """Feed one input to a loaded run and append it with the commands that followed, as one group.

        Then what lies in its inbox and is for it now. False when the run is blocked instead: it is created all the
        same, by the records `before`, and the input is still to be fed.
        """
        misfit = self._feed(run, record, before=before, created=created, taken=taken, now_us=now_us)
        if misfit is not None:
            if created is not None:
                self.append(run, created.created_us, before, created=created)
            self._give_up(run, misfit)
            return False
        if run.kept:
            self.offer(run)
        return True

    def _give_up(self, run: LiveRun, misfit: DurablyError) -> None:
        """What the code did with an input cannot be written down: it is fed again when that has changed."""
        self.block(run, misfit)
        if run.instance is not None:
            run.instance.evict()
        run.instance = None

    def _feed(
        self,
        run: LiveRun,
        record: Input,
        *,
        before: Sequence[Record] = (),
        created: RunRow | None = None,
        taken: tuple[int, ...] = (),
        now_us: int | None = None,
    ) -> DurablyError | None:
        state, instance, registered = self._state(run), run.instance, run.registered
        assert instance is not None
        assert registered is not None
        at_us = self.stamp(state) if now_us is None else now_us
        seq = state.seq + len(before) + 1
        try:
            commands = instance.feed(record, at_us, seq, self.cpu)
        except Undecodable as error:  # carried over, or kept in the inbox, from before the code was changed
            return undecodable(instance, record, at_us, seq, error)
        missing = registered.missing_policy(instance.named)
        if missing is not None:
            return unknown_policy(missing)
        if self.cpu.warned is not None:
            log.warning(
                "workflow.slow", run_id=run.id, workflow=instance.runnable.name, used=self.cpu.warned, hint=SLOW
            )
        if instance.ended:
            commands.append(conclude(instance, at_us, self.randomness))
        elif too_long(state.seq + len(commands), run.size):
            commands[:] = [history_too_long(state.seq, run.size)]
        self._admit(run, commands)
        records = [*before, record, *instance.take_notes(), *commands]
        self.append(run, at_us, records, created=created, taken=taken, lines=instance.take_lines())
        return None

    def _admit(self, run: LiveRun, commands: list[Command]) -> None:
        """Let steps in that may start now; write down the others as scheduled."""
        for index, command in enumerate(commands):
            if type(command) is AttemptStarted:
                if run.interrupted:
                    run.held.append(command.step)
                elif self.admission.enter(run, command.step):
                    continue
                commands[index] = StepScheduled(
                    step=command.step,
                    name=command.name,
                    input=command.input,
                    digest=command.digest,
                    line=command.line,
                )
            elif type(command) is StepCanceled:
                run.outcomes.pop(command.step, None)
                attempt = run.attempts.pop(command.step, None)
                if attempt is not None:
                    attempt.interrupted = True
                    run.interrupted[command.step] = attempt

    def append(
        self,
        run: LiveRun,
        at_us: int,
        records: Sequence[Record],
        *,
        created: RunRow | None = None,
        taken: tuple[int, ...] = (),
        lines: Sequence[LogLine] = (),
    ) -> None:
        """Add records to the run's state and, on their way to the store, to its log."""
        state, number = self._state(run), run.number
        tasks, waits = state.tasks, state.started_us is None
        rows: list[LogRow] = []
        parcel: Parcel | None = None
        for record in records:
            if type(record) in REACHING and reaches_out(record, state):
                parcel = parcel or Parcel()
                self.outbox.pack(parcel, run.id, state, record, at_us)
            state.apply(record, at_us)
            body = encode_record(record)
            run.size += len(body)
            rows.append(new_row(LogRow, (number, state.seq, at_us, body)))
        if nearly_full(state.seq, run.size) and not run.warned:
            run.warned = True
            log.warning("history.nearly_full", run_id=run.id, records=state.seq, bytes=run.size, hint=NEARLY_FULL)
        if state.ended and state.continued_to is None and (run.kept or run.lookups):
            taken = (*taken, *run.kept, *run.lookups)  # nobody will want it
            run.kept.clear()
        if taken:
            run.taken.update(dict.fromkeys(taken))
        shown = (state.status, state.phase, state.earliest_us())
        change = None
        if shown != run.shown:
            run.shown = shown
            change = state.change()
        run.unsaved += 1
        append = Append(number, rows, created, change, taken, after=(run, records, lines, parcel))
        began = waits and state.started_us is not None
        if began or state.tasks != tasks:
            append.used = used(state, at_us, began, state.tasks - tasks)
        if parcel is not None:
            self.outbox.attach(parcel, append)
        self.journal.add(append)

    # -- effects, in the order of the log

    def committed(self, operation: Append, result: Result) -> None:
        """Act on a group that is durable now."""
        after: Appended = operation.after
        run, records, lines, parcel = after
        run.unsaved -= 1
        if result is not None and not isinstance(result, Written):
            self._refused(run, result)
            return
        if run.stored is not None:
            if not run.stored.done():  # who started it may have gone
                run.stored.set_result(None)
            run.stored = None
        for line in lines:
            line.emit()
        for record in records:
            effect = self._effects.get(type(record))
            if effect is not None:
                effect(self, run, record)
        if parcel is not None and result is not None:
            self.outbox.delivered(run.number, parcel, result)
        if self.observers:
            self._show(run, records)
        if run.state is not None and run.state.finished_us is None:
            if operation.change is not None:  # the due time is part of it
                self.arm(run)
            if run.overdue:
                self._count_down(run)
            self.rest(run)

    def _show(self, run: LiveRun, records: Sequence[Record]) -> None:
        for observe in self.observers:
            try:
                observe(run, records)
            except Exception:  # who watches must not be able to stop what is watched
                log.exception("observer.failed", run_id=run.id)

    def _refused(self, run: LiveRun, reason: Result) -> None:
        """The store does not take this run's records: leave it alone until the next start (DESIGN rule 8)."""
        log.error("run.fenced", run_id=run.id, reason=str(reason))
        run.blocked = True
        if run.stored is not None:
            if not run.stored.done():
                run.stored.set_exception(RunConflict(f"run {run.id!r} exists already: {reason}"))
            run.stored = None
            self.forget(run)

    def _launch(self, run: LiveRun, record: AttemptStarted) -> None:
        step = run.state.steps.get(record.step) if run.state is not None else None
        if step is None or run.instance is None:  # canceled meanwhile, in a group behind this one
            self.admission.leave(run, record.step)
            return
        beginning = run.instance.beginning
        call = run.instance.loop.pending[record.step].command
        assert run.state is not None
        assert run.registered is not None
        attempt = Attempt(run, record.step, call, beginning, record.attempt, record.start)
        attempt.seq = run.state.seq
        if step.error is not None:
            attempt.last_error = StepError(record.name, step.error, record.attempt)
        run.attempts[record.step] = attempt
        self.attempts.launch(attempt)

    def _interrupt(self, run: LiveRun, record: StepCanceled) -> None:
        attempt = run.interrupted.get(record.step)
        if attempt is None:
            return
        self.attempts.interrupt(attempt)
        release = partial(self._unwound, run, record.step)
        self.clock.call_at(self.clock.now_us() + UNWIND_US, release)

    def _body_failed(self, run: LiveRun, _record: BodyFailed) -> None:
        # The next incarnation needs the whole log: what it takes over is read from it.
        self.arm(run)
        run.drop()
        self.rest(run)

    def finish(self, run: LiveRun, record: End) -> None:
        """A run has ended: tell who waits for it, and let it go."""
        self.waiters.tell(run.number, record)
        for attempt in run.attempts.values():  # of a run that was ended while its code went on
            self.attempts.interrupt(attempt)
        self.forget(run)

    # -- attempts

    def attempt_ended(self, attempt: Attempt, value: Any, error: BaseException | None) -> None:
        """A body has come to its end: put its outcome in the log and drive the workflow on."""
        run, key = attempt.run, attempt.key
        self.admission.leave(run, key)
        if attempt.interrupted:
            self._unwound(run, key)
            return
        run.attempts.pop(key, None)
        records = outcome_of(attempt, value, error, self.clock.now_us(), self.randomness.uniform)
        outcome = run.outcomes[key] = Outcome(key, attempt.number, attempt.start, records, tuple(attempt.unsaid))
        if run.blocked:
            self.shelve(run, outcome)
        elif run.state is not None and not run.todo and not run.loading:
            self.deliver(run, key)
        else:
            self.when_loaded(run, partial(self.deliver, run, key))

    def deliver(self, run: LiveRun, key: str) -> None:
        """Feed the outcome of an attempt, unless the step is no longer waiting for it."""
        outcome = run.outcomes.pop(key, None)
        state = self._state(run)
        step = state.steps.get(key)
        if outcome is None:
            return
        if step is None or not step.running or step.attempt != outcome.attempt:
            if outcome.taken:  # nobody waits for it any more: let it not lie in the inbox for ever
                self.append(run, self.stamp(state), (), taken=outcome.taken)
            return
        records = (*outcome.messages, *outcome.records)
        last = outcome.records[-1]
        if isinstance(last, AttemptFailed):
            self.append(run, self.stamp(state), records, taken=outcome.taken)
        elif not self.activate(run, last, before=records[:-1], taken=outcome.taken) and not outcome.taken:
            run.outcomes[key] = outcome
            self.shelve(run, outcome)

    def _unwound(self, run: LiveRun, key: str) -> None:
        if run.interrupted.pop(key, None) is not None and not run.interrupted:
            held, run.held = run.held, []
            for waiting in held:
                self._turn(run, waiting)

    def _turn(self, run: LiveRun, key: str) -> None:
        self.when_loaded(run, partial(self.begin, run, key))

    def begin(self, run: LiveRun, key: str) -> None:
        """Start an attempt that is not a step's first command: a retry, a lost one again, one that had to wait."""
        state, instance = self._state(run), run.instance
        step = state.steps.get(key)
        if step is None or step.running or instance is None:
            self.admission.pass_on()
            return
        if run.interrupted:
            run.held.append(key)
            return
        if not self.admission.enter(run, key, step.losses):
            return
        number = step.attempt if step.retry_us is None else step.attempt + 1
        start = step.start + 1 if step.retry_us is None else 0
        start = max(start, instance.carry.starts.get((key, number), 0))
        record = AttemptStarted(step=key, name=step.name, attempt=number, start=start)
        self.append(run, self.stamp(state), [record])

    # -- what others send

    def offer(self, run: LiveRun) -> None:
        """Feed a loaded run what lies in its inbox and is for it now; the rest is kept, or no use any more."""
        while (claimed := self._claimed(run)) is not None:
            number, record = claimed
            if record is None:
                self.append(run, self.stamp(self._state(run)), (), taken=(number,))
            elif (misfit := self._feed(run, record, taken=(number,))) is not None:
                self._give_up(run, misfit)

    def _claimed(self, run: LiveRun) -> tuple[int, Input | None] | None:
        instance = run.instance
        if instance is None or not run.is_open or run.blocked:
            return None
        return run.kept.take(run.id, self._state(run), instance.loop.pending)

    def discard(self, run: LiveRun, items: Iterable[int]) -> None:
        """Let nothing lie in the inbox of a run that has ended. One that goes on as another leaves it to that."""
        state = self._state(run)
        left = tuple(item for item in items if item not in run.taken)
        if left and state.continued_to is None:
            self.append(run, self.stamp(state), (), taken=left)

    # -- deadlines of waits

    def expire_when_saved(self, run: LiveRun, key: str) -> None:
        """The deadline of a wait has come. What has come before it is known once all that the run did is durable."""
        if run.unsaved:  # perhaps by the wait itself
            run.overdue[key] = run.unsaved
        else:
            self.expire(run, key)

    def _count_down(self, run: LiveRun) -> None:
        for key, groups in list(run.overdue.items()):
            if groups > 1:
                run.overdue[key] = groups - 1
            else:
                del run.overdue[key]
                self.expire(run, key)

    # -- small things

    @staticmethod
    def _state(run: LiveRun) -> RunState:
        assert run.state is not None, "the run is not loaded"
        return run.state

    def stamp(self, state: RunState) -> int:
        """Now, and never before the run's last record (DESIGN rule 11)."""
        return max(self.clock.now_us(), state.at_us)

    _effects: ClassVar[dict[type[Any], Callable[[Any, LiveRun, Any], None]]] = {
        AttemptStarted: _launch,
        StepCanceled: _interrupt,
        BodyFailed: _body_failed,
        RunSucceeded: finish,
        RunFailed: finish,
        RunCanceled: finish,
        RunContinued: finish,
    }
