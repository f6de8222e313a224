"""Rerunning from a step: what of a history the new run need not do again (DESIGN section 3, "Rerun from a step")."""

from collections.abc import Sequence
from math import inf

from msgspec.structs import replace

from durably.engine.errors import InvalidInput
from durably.engine.log.grammar import Entry
from durably.engine.log.records import (
    INPUTS,
    AttemptStarted,
    ChildCanceled,
    ChildFailed,
    ChildStarted,
    ChildSucceeded,
    Command,
    EventAwaited,
    EventReceived,
    EventSent,
    Input,
    OutcomeGiven,
    PatchMarked,
    Published,
    Record,
    Resumed,
    RunCreated,
    RunStarted,
    SignalAwaited,
    SignalReceived,
    SignalSent,
    StepCanceled,
    StepFailed,
    StepScheduled,
    StepSucceeded,
    TimerFired,
    TimerSet,
    from_us,
)
from durably.engine.log.steps import Outcome, find_step, known_steps, sender_of

__all__ = ["given_without", "resumed"]


def resumed(entries: Sequence[Entry], step: str) -> Resumed:
    """Where a rerun from `step`, a key or the name of a single step, begins.

    Raises:
        InvalidInput: the history has no such step, or several.
    """
    key = find_step(known_steps(entries), step).key
    created = entries[0].record
    assert isinstance(created, RunCreated)
    if created.resumed is not None:
        return replace(created.resumed, step=key)
    for entry in entries:
        if isinstance(entry.record, RunStarted):
            return Resumed(step=key, started_at=from_us(entry.at_us), seed=entry.record.seed)
    raise InvalidInput("the run has not begun yet; it needs no rerun from a step")


def given_without(entries: Sequence[Entry], key: str) -> list[OutcomeGiven]:
    """All that a history has come to, without that step and without anything that began after the step had ended.

    If the step was canceled, then also without what canceled it: a deadline, say, that would be over at once.
    """
    reader = _Reader(entries, key)
    for entry in entries:
        reader.read(entry)
    return [
        each
        for each in reader.known
        if each.began < reader.end != each.happened and not (_is_outcome_of(each.record, key))
    ]


def _is_outcome_of(record: Record, key: str) -> bool:
    return isinstance(record, Outcome) and record.step == key


class _Reader:
    """Finds what a history has come to, and where the step `key` ended.

    Places are those of inputs: what code does with one happens there. Those of what the run was given come before.
    """

    def __init__(self, entries: Sequence[Entry], key: str) -> None:
        self.known: list[OutcomeGiven] = []
        self.end: float = inf
        self._key = key
        self._began: dict[str, int] = {}
        self._given = max(
            (each.record.happened for each in entries if isinstance(each.record, OutcomeGiven)), default=0
        )
        self._place = 0

    def read(self, entry: Entry) -> None:
        record = entry.record
        if type(record) in INPUTS:
            self._place = self._given + entry.seq
        match record:
            case OutcomeGiven():
                self.known.append(record)
                if _is_outcome_of(record.record, self._key):
                    self.end = record.happened
            case AttemptStarted() | StepScheduled():
                self._begin(record.step)
                self.end = inf if record.step == self._key else self.end
            case TimerSet():
                self._begin(record.timer)
            case EventAwaited() | SignalAwaited():
                self._begin(record.wait)
            case ChildStarted():
                self._begin(record.child)
            case StepCanceled():
                self.end = self._place if record.step == self._key else self.end
            case _:
                self._come_to(entry, record)

    def _begin(self, key: str) -> None:
        self._began.setdefault(key, self._place)

    def _come_to(self, entry: Entry, record: Record) -> None:
        match record:
            case StepSucceeded() | StepFailed():
                self.end = self._place if record.step == self._key else self.end
                self._keep(entry, record, record.step)
            case TimerFired():
                self._keep(entry, record, record.timer)
            case EventReceived():
                for wait in record.waits:
                    self._keep(entry, replace(record, waits=(wait,)), wait)
            case SignalReceived():
                self._keep(entry, record, record.wait)
            case ChildSucceeded() | ChildFailed() | ChildCanceled():
                self._keep(entry, record, record.child)
            case Published() if sender_of(record) in self._began:
                pass  # a step's: it is not said again unless the step runs again
            case EventSent() | SignalSent() | PatchMarked() | Published():
                self._keep(entry, record, None)
            case _:
                pass

    def _keep(self, entry: Entry, record: Input | Command | Published, key: str | None) -> None:
        began = self._place if key is None else self._began[key]
        at = from_us(entry.at_us)
        self.known.append(OutcomeGiven(record=record, happened_at=at, began=began, happened=self._place))
