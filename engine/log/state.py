"""A run's state as the pure fold of its log (DESIGN rule 10).

`RunState.apply` is the one place that says what a record means. The engine applies each record it writes, recovery
applies the records it reads, and what lists show is computed from the result, so the three cannot disagree.
"""

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from math import ceil
from typing import Any, ClassVar, Final, TypeAlias

import msgspec

from durably.engine.log.records import (
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    BodyFailed,
    BodyStarted,
    CancelRequested,
    ChildCanceled,
    ChildCancelRequested,
    ChildFailed,
    ChildStarted,
    ChildSucceeded,
    EventAwaited,
    EventReceived,
    EventSent,
    OutcomeGiven,
    PatchMarked,
    Published,
    Record,
    RunBlocked,
    RunCanceled,
    RunContinued,
    RunCreated,
    RunFailed,
    RunStarted,
    RunSucceeded,
    RunUnblocked,
    SignalAwaited,
    SignalReceived,
    SignalSent,
    StepCanceled,
    StepFailed,
    StepScheduled,
    StepSucceeded,
    TimerCanceled,
    TimerFired,
    TimerSet,
    WaitCanceled,
    to_us,
)
from durably.engine.retries.failures import ErrorInfo
from durably.store import Change
from durably.store.runtime import SECOND_US

__all__ = ["ChildState", "Due", "RunState", "StepState", "Wait", "event_id", "fold"]

ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELED"})
RUN: Final = ""
"""The key of what concerns the whole run among the due times."""
STOP_US: Final = 10 * SECOND_US
"""How long a run may go on after a second request to cancel it (CONTRACT section 7)."""

Wait: TypeAlias = EventAwaited | SignalAwaited
_NONE: Final[dict[str, Any]] = {}
"""What most runs have of waits, children and events: 64 bytes each, so it is shared, and never put into."""


class StepState(msgspec.Struct, gc=False):
    """A step that has not ended: which attempt it is at, and whether that runs or waits."""

    name: str
    attempt: int = 0
    start: int = -1
    """Which start of that attempt; -1 before the first."""
    losses: int = 0
    """Crash losses in a row of the present attempt (DESIGN rule 12)."""
    running: bool = False
    retry_us: int | None = None
    error: ErrorInfo | None = None
    """What the attempt before raised."""


class ChildState(msgspec.Struct, gc=False):
    """A child run that has not ended, as far as its parent knows."""

    run: str
    workflow: str
    canceled: bool = False


class Due(msgspec.Struct, frozen=True, gc=False):
    """Something that waits for time.

    A timer (`timer`), a wait's deadline (`wait`), a step's retry (`step`) or the body's (`body`), a delayed run's start
    (`start`), the run's own time limit (`timeout`), or its end after a second cancel (`stop`).
    """

    at_us: int
    kind: str
    key: str


class RunState:
    """What a run's log adds up to."""

    __slots__ = (
        "_due",
        "_taken",
        "at_us",
        "blocked",
        "body_attempt",
        "body_retry_us",
        "cancel_requests",
        "children",
        "continued_to",
        "copied",
        "created",
        "created_us",
        "events",
        "finished_us",
        "retrying",
        "running",
        "scheduled",
        "seq",
        "start_us",
        "started_us",
        "status",
        "steps",
        "stop_us",
        "tasks",
        "timeout_us",
        "timers",
        "waits",
    )

    def __init__(self) -> None:
        self.seq = 0
        self.at_us = 0
        self.status = "PENDING"
        self.created: RunCreated | None = None
        self.created_us = 0
        self.started_us: int | None = None
        self.finished_us: int | None = None
        self.copied = 0
        """Up to which record a fork's log is a copy: the steps there were counted in the run they come from."""
        self.tasks = 0
        """Steps that ran at least once, however many attempts they took (seed 1: "only count as one task")."""
        self.start_us: int | None = None
        """When the body of a delayed run starts."""
        self.body_attempt = 0
        self.body_retry_us: int | None = None
        self.cancel_requests = 0
        self.stop_us: int | None = None
        """When the run is ended whatever its code does, after a second cancel."""
        self.timeout_us: int | None = None
        """When the run's own time is up."""
        self.continued_to: str | None = None
        self.blocked: RunBlocked | None = None
        self.steps: dict[str, StepState] = {}
        self.timers: dict[str, int] = {}
        self.waits: dict[str, Wait] = _NONE
        self.children: dict[str, ChildState] = _NONE
        self.events: dict[str, int] = _NONE
        """Ids of the events it has had, and when; the one that triggered it is in `created`."""
        self.scheduled = self.running = self.retrying = 0
        self._due: list[tuple[int, int, str, str]] = []
        self._taken: list[tuple[int, int, str, str]] = []
        """What was given out by `take_due`, until it no longer stands."""

    def apply(self, record: Record, at_us: int) -> None:
        """Take in the next record of the log."""
        self.seq += 1
        self.at_us = at_us
        self._apply[type(record)](self, record, at_us)

    # -- what it adds up to

    @property
    def ended(self) -> bool:
        """Whether the run has its one outcome."""
        return self.status in ENDED

    @property
    def phase(self) -> str | None:
        """The first of CONTRACT section 5's phases that applies; None once the run has ended."""
        if self.finished_us is not None:
            return None
        if self.blocked is not None:
            return "blocked"
        if self.start_us is not None:
            return "sleeping"
        if self.started_us is None or self.scheduled:
            return "queued"
        if self.running:
            return "executing"
        return self._waiting_phase()

    def _waiting_phase(self) -> str:
        if self.retrying or self.body_retry_us is not None:
            return "retrying"
        if self.waits or any(not child.canceled for child in self.children.values()):
            return "waiting"
        return "sleeping" if self.timers else "executing"

    def next_due_us(self) -> int | None:
        """When the earliest timer or retry is due that was not given out yet."""
        return self._first_us(self._due)

    def take_due(self, now_us: int) -> Due | None:
        """The earliest timer or retry that is due by now, the one first set among equals; it is given out once."""
        at_us = self.next_due_us()
        if at_us is None or at_us > now_us:
            return None
        taken = heappop(self._due)
        heappush(self._taken, taken)
        return Due(at_us, taken[2], taken[3])

    def earliest_us(self) -> int | None:
        """When the earliest is due of all that waits for time, given out or not.

        What was given out need not have had its effect yet: after a crash before that it is due again.
        """
        at_us = self._first_us(self._taken)
        return self.next_due_us() if at_us is None else at_us

    def next_retry_us(self) -> int | None:
        """When the earliest retry of a step or of the body is due."""
        waits = [step.retry_us for step in self.steps.values() if step.retry_us is not None]
        if self.body_retry_us is not None:
            waits.append(self.body_retry_us)
        return min(waits, default=None)

    def change(self) -> Change:
        """What lists show of this state."""
        return Change(
            self.status,
            self.phase,
            self.earliest_us(),
            self.tasks,
            self.seq,
            self.started_us,
            self.finished_us,
            self.continued_to,
        )

    def _first_us(self, heap: list[tuple[int, int, str, str]]) -> int | None:
        """The earliest of these that still stands. Those before it go: none is looked at by every call."""
        while heap:
            at_us, _, kind, key = heap[0]
            if self._stands(at_us, kind, key):
                return at_us
            heappop(heap)
        return None

    def _stands(self, at_us: int, kind: str, key: str) -> bool:
        return self._due_us[kind](self, key) == at_us

    _due_us: ClassVar[dict[str, Callable[["RunState", str], int | None]]] = {
        "timer": lambda state, key: state.timers.get(key),
        "step": lambda state, key: step.retry_us if (step := state.steps.get(key)) else None,
        "wait": lambda state, key: _until_us(state.waits.get(key)),
        "body": lambda state, _: state.body_retry_us,
        "start": lambda state, _: state.start_us,
        "timeout": lambda state, _: state.timeout_us,
        "stop": lambda state, _: state.stop_us,
    }
    """When each kind of due time stands now: one that was queued before may be gone."""

    def _wait(self, at_us: int, kind: str, key: str) -> None:
        heappush(self._due, (at_us, self.seq, kind, key))

    # -- one method for each meaning a record can have

    def _created(self, record: RunCreated, at_us: int) -> None:
        self.created = record
        self.created_us = at_us
        if record.copied is not None:
            self.created_us = to_us(record.copied.made_at)
            self.copied = record.copied.upto
        if record.continued is not None:
            self.events = {event: to_us(at) for event, at in record.continued.had.items()}
        if record.due_at is not None:
            self.start_us = due_us = to_us(record.due_at)
            self._wait(due_us, "start", RUN)

    def _started(self, _record: RunStarted, at_us: int) -> None:
        self.status = "RUNNING"
        self.started_us = max(at_us, self.created_us)  # a fork begins with records of an older run
        self.start_us = None
        if self.created is not None and self.created.timeout is not None:
            self.timeout_us = due_us = self.started_us + ceil(self.created.timeout * SECOND_US)
            self._wait(due_us, "timeout", RUN)

    def _body_started(self, record: BodyStarted, _at_us: int) -> None:
        self.body_attempt = record.attempt
        self.body_retry_us = None

    def _body_failed(self, record: BodyFailed, _at_us: int) -> None:
        self._drop_work()
        self.body_retry_us = at_us = to_us(record.retry_at)
        self._wait(at_us, "body", RUN)

    def _scheduled(self, record: StepScheduled, _at_us: int) -> None:
        self.steps[record.step] = StepState(record.name)
        self.scheduled += 1

    def _attempt_started(self, record: AttemptStarted, _at_us: int) -> None:
        step = self.steps.get(record.step)
        if step is None:
            step = self.steps[record.step] = StepState(record.name)
        elif step.retry_us is not None:
            step.retry_us = None
            self.retrying -= 1
        elif not step.running:
            self.scheduled -= 1
        if record.attempt == 0 and record.start == 0 and self.seq > self.copied:
            self.tasks += 1
        step.attempt = record.attempt
        step.start = record.start
        if not step.running:
            step.running = True
            self.running += 1

    def _attempt_failed(self, record: AttemptFailed, _at_us: int) -> None:
        step = self.steps[record.step]
        step.losses = 0
        step.error = record.error
        if record.retry_at is not None:
            step.running = False
            self.running -= 1
            step.retry_us = at_us = to_us(record.retry_at)
            self.retrying += 1
            self._wait(at_us, "step", record.step)

    def _attempt_lost(self, record: AttemptLost, _at_us: int) -> None:
        step = self.steps[record.step]
        step.losses = step.losses + 1 if record.reason == "crash" else step.losses
        step.running = False
        self.running -= 1
        self.scheduled += 1

    def _step_ended(self, record: StepSucceeded | StepFailed, _at_us: int) -> None:
        self._forget(record.step)
        self.body_attempt = 0

    def _step_canceled(self, record: StepCanceled, _at_us: int) -> None:
        self._forget(record.step)

    def _timer_set(self, record: TimerSet, _at_us: int) -> None:
        self.timers[record.timer] = at_us = to_us(record.due_at)
        self._wait(at_us, "timer", record.timer)

    def _timer_gone(self, record: TimerFired | TimerCanceled, _at_us: int) -> None:
        if record.timer in self.timers:
            del self.timers[record.timer]
        else:
            del self.waits[record.timer]  # its deadline

    def _wait_set(self, record: Wait, _at_us: int) -> None:
        self.waits = self.waits or {}
        self.waits[record.wait] = record
        if record.until is not None:
            self._wait(to_us(record.until), "wait", record.wait)

    def _event_received(self, record: EventReceived, at_us: int) -> None:
        self._have(record.event, at_us)
        for key in record.waits:
            del self.waits[key]

    def _have(self, event: msgspec.Raw, at_us: int) -> None:
        self.events = self.events or {}
        self.events[event_id(event)] = at_us

    def _wait_gone(self, record: SignalReceived | WaitCanceled, _at_us: int) -> None:
        del self.waits[record.wait]

    def _child_started(self, record: ChildStarted, _at_us: int) -> None:
        self.children = self.children or {}
        self.children[record.child] = ChildState(record.run, record.workflow)

    def _child_ended(self, record: ChildSucceeded | ChildFailed | ChildCanceled, _at_us: int) -> None:
        self.children.pop(record.child, None)

    def _child_canceled(self, record: ChildCancelRequested, _at_us: int) -> None:
        self.children[record.child].canceled = True

    def _cancel_requested(self, record: CancelRequested, at_us: int) -> None:
        self.body_retry_us = self.timeout_us = None  # what the run does now runs to its end
        if record.reason == "timeout":
            return
        self.cancel_requests += 1
        if self.cancel_requests > 1 and self.stop_us is None:
            self.stop_us = due_us = at_us + STOP_US
            self._wait(due_us, "stop", RUN)

    def _ended(self, record: RunSucceeded | RunFailed | RunCanceled | RunContinued, at_us: int) -> None:
        self._drop_work()
        self.children.clear()
        self._due.clear()
        self._taken.clear()
        self.body_retry_us = None
        self.status = _STATUS[type(record)]
        self.finished_us = at_us
        self.start_us = self.stop_us = self.timeout_us = None
        if isinstance(record, RunContinued):
            self.continued_to = record.continued_to

    def _given(self, record: OutcomeGiven, at_us: int) -> None:
        if isinstance(record.record, EventReceived):
            self._have(record.record.event, at_us)

    def _nothing(self, record: EventSent | SignalSent | PatchMarked | Published, at_us: int) -> None:
        """A record that changes nothing but the run's length."""

    def _blocked(self, record: RunBlocked, _at_us: int) -> None:
        self.blocked = record

    def _unblocked(self, _record: RunUnblocked, _at_us: int) -> None:
        self.blocked = None

    def _forget(self, key: str) -> None:
        step = self.steps.pop(key)
        if step.running:
            self.running -= 1
        elif step.retry_us is not None:
            self.retrying -= 1
        else:
            self.scheduled -= 1

    def _drop_work(self) -> None:
        self.steps.clear()
        self.timers.clear()
        self.waits.clear()
        self.scheduled = self.running = self.retrying = 0

    _apply: ClassVar[dict[type[Any], Callable[[Any, Any, int], None]]] = {
        RunCreated: _created,
        OutcomeGiven: _given,
        RunStarted: _started,
        BodyStarted: _body_started,
        BodyFailed: _body_failed,
        StepScheduled: _scheduled,
        AttemptStarted: _attempt_started,
        AttemptFailed: _attempt_failed,
        AttemptLost: _attempt_lost,
        StepSucceeded: _step_ended,
        StepFailed: _step_ended,
        StepCanceled: _step_canceled,
        TimerSet: _timer_set,
        TimerFired: _timer_gone,
        TimerCanceled: _timer_gone,
        EventAwaited: _wait_set,
        EventReceived: _event_received,
        SignalAwaited: _wait_set,
        SignalReceived: _wait_gone,
        WaitCanceled: _wait_gone,
        EventSent: _nothing,
        SignalSent: _nothing,
        ChildStarted: _child_started,
        ChildSucceeded: _child_ended,
        ChildFailed: _child_ended,
        ChildCanceled: _child_ended,
        ChildCancelRequested: _child_canceled,
        Published: _nothing,
        PatchMarked: _nothing,
        CancelRequested: _cancel_requested,
        RunSucceeded: _ended,
        RunFailed: _ended,
        RunCanceled: _ended,
        RunContinued: _ended,
        RunBlocked: _blocked,
        RunUnblocked: _unblocked,
    }


_STATUS: Final[dict[type[Any], str]] = {
    RunSucceeded: "SUCCEEDED",
    RunFailed: "FAILED",
    RunCanceled: "CANCELED",
    RunContinued: "SUCCEEDED",
}


def _until_us(wait: Wait | None) -> int | None:
    return None if wait is None or wait.until is None else to_us(wait.until)


class _Identified(msgspec.Struct):
    id: str = ""


_decode_identified = msgspec.json.Decoder(_Identified).decode


def event_id(event: msgspec.Raw) -> str:
    """The id of a recorded event; empty where there is none."""
    return "" if bytes(event) == b"null" else _decode_identified(event).id


def fold(records: Iterable[tuple[int, Record]]) -> RunState:
    """The state after `(at_us, record)` pairs, from the first record of a log on."""
    state = RunState()
    for at_us, record in records:
        state.apply(record, at_us)
    return state
