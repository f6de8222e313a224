"""Schedules at work: one timer for whatever is due next by the wall clock, and one commit for each firing.

What an owner, a workflow or a job, wants to be run by the clock it says with `Schedules.set`, whenever that changes and
at every start:

    schedules.set("job/cleanup", [Schedule("production 0 2 * * * UTC", timetable, fire, catch_up="once")], since_us)
    schedules.set("job/cleanup", [])  # never again
    schedules.next_due_us("job/cleanup", "production 0 2 * * * UTC")

`fire(run_id, scheduled_us)` gives the run to be created, or None when there is nothing to run; `run_row` makes the row.
A schedule's name tells what it is, with its expression and zone: under the same name it goes on from its stored
position, also after downtime, and under another one it is a new schedule, which begins at `since_us`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple, TypeAlias

import structlog

from durably.engine.errors import StoreError
from durably.engine.execution.journal import Journal
from durably.engine.execution.pump import Pump
from durably.engine.log.ids import derived_id
from durably.engine.log.records import RunCreated, encode_record
from durably.engine.schedules.catch_up import CatchUp, decide
from durably.engine.schedules.cron import Timetable
from durably.store import Create, LogRow, Operation, Refused, Reschedule, Result, RunRow, Store, Together, Written
from durably.store.runtime import SECOND_US, Clock, Timer

__all__ = ["Fire", "Schedule", "Schedules"]

log = structlog.get_logger("durably.schedules")

Fire: TypeAlias = Callable[[str, int], tuple[RunRow, RunCreated] | None]
"""The run that a schedule starts, of that id, for that time."""
Runs: TypeAlias = Sequence[tuple[RunRow, RunCreated]]

NEVER_US = 1 << 62
"""The stored position of a schedule that is not due any more: what was fired is not fired again."""


class Schedule(NamedTuple):
    """Something to be run by the clock."""

    name: str
    """Of its owner's schedules which one it is. An edit that leaves it as it was keeps its position."""
    timetable: Timetable
    fire: Fire
    catch_up: CatchUp = "once"


class _Entry:
    """A schedule that is kept: `due_us` is the first of its times that was not fired yet."""

    __slots__ = ("due_us", "key", "schedule")

    def __init__(self, key: str, schedule: Schedule, due_us: int) -> None:
        self.key = key
        self.schedule = schedule
        self.due_us = due_us


class Schedules:
    """Keeps schedules, and fires each of their times once.

    The runs of a firing and the schedule's next position are one commit, and the runs' ids derive from the schedule and
    the time: whatever becomes of a commit, it is asked for again until it is known, and a repeat creates nothing. So
    each time has one run, and a wall clock that is set back gives it no second one.
    """

    def __init__(
        self,
        store: Store,
        journal: Journal,
        clock: Clock,
        *,
        begin: Callable[[RunRow, RunCreated], None],
        watched: Callable[[Callable[..., None]], Callable[..., None]],
    ) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        self._begin = begin
        self._kept: dict[str, dict[str, _Entry]] = {}
        self._stored: dict[str, dict[str, int]] = {}
        self._queue: list[tuple[int, int, _Entry]] = []
        self._order = count()
        self._due: Pump[_Entry] = Pump(clock, watched(self._fire))
        self._timer: Timer | None = None
        self._timer_us: int | None = None
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether nothing is due just now."""
        return self._due.idle

    async def open(self) -> None:
        """Learn the positions of all schedules, of those too whose owners are not there for now."""
        for key, due_us in (await self._store.positions()).items():
            owner, _, name = key.partition("\t")
            self._stored.setdefault(owner, {})[name] = due_us

    def close(self) -> None:
        """Fire nothing any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def set(self, owner: str, schedules: Sequence[Schedule], since_us: int | None = None) -> None:
        """From now on `owner` has these schedules, and no others.

        One that is new is due from `since_us` on, by default now; give the time of the change, and a crash right after
        it loses nothing.
        """
        since_us = self._clock.wall_us() if since_us is None else since_us
        kept, stored = self._kept.pop(owner, {}), self._stored.pop(owner, {})
        changes: list[Operation] = []
        for schedule in schedules:
            entry = kept.pop(schedule.name, None)
            if entry is not None:
                entry.schedule = schedule
            else:
                entry = _Entry(f"{owner}\t{schedule.name}", schedule, stored.pop(schedule.name, 0))
                if not entry.due_us:
                    entry.due_us = _or_never(schedule.timetable.next_after(since_us))
                    changes.append(Reschedule(entry.key, entry.due_us))
                self._await(entry)
            self._kept.setdefault(owner, {})[schedule.name] = entry
        changes += [Reschedule(f"{owner}\t{name}", None) for name in (*kept, *stored)]
        if changes:
            self._commit(changes, lambda _: None)

    def next_due_us(self, owner: str, name: str) -> int | None:
        """When a schedule is due next; None when it never is, or there is none of that name."""
        entry = self._kept.get(owner, {}).get(name)
        return None if entry is None or entry.due_us == NEVER_US else entry.due_us

    def _keeps(self, entry: _Entry) -> bool:
        owner, _, name = entry.key.partition("\t")
        return not self._closed and self._kept.get(owner, {}).get(name) is entry

    # -- waiting

    def _await(self, entry: _Entry) -> None:
        if entry.due_us <= self._clock.wall_us():
            self._due.add(entry)
        elif entry.due_us != NEVER_US:
            heappush(self._queue, (entry.due_us, next(self._order), entry))
            self._arm()

    def _arm(self) -> None:
        """One callback of the clock, for the earliest."""
        next_us = self._queue[0][0] if self._queue and not self._closed else None
        if next_us == self._timer_us:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_us = next_us
        self._timer = None if next_us is None else self._clock.call_at_wall(next_us, self._tick)

    def _tick(self) -> None:
        self._timer = self._timer_us = None
        now_us = self._clock.wall_us()
        while self._queue and self._queue[0][0] <= now_us:
            _, _, entry = heappop(self._queue)
            self._due.add(entry)
        self._arm()

    # -- firing

    def _fire(self, entry: _Entry) -> None:
        """Create the runs that are due, and move the schedule on, in one commit."""
        if not self._keeps(entry):
            return
        schedule = entry.schedule
        due = decide(schedule.timetable, entry.due_us, self._clock.wall_us(), schedule.catch_up)
        ids = [derived_id(entry.key, str(each)) for each in due.times]
        fired = [schedule.fire(run_id, each) for run_id, each in zip(ids, due.times, strict=True)]
        runs = [run for run in fired if run is not None]
        next_us = _or_never(due.next_us)
        self._commit(
            [*map(_creation, runs), Reschedule(entry.key, next_us)], partial(self._fired, entry, runs, next_us)
        )

    def _fired(self, entry: _Entry, runs: Runs, next_us: int, results: Sequence[Result]) -> None:
        for (row, created), result in zip(runs, results, strict=False):
            if result is None:  # else it was created by a commit that was not known, and recovery has found it
                self._begin(row, created)
        if self._keeps(entry):
            entry.due_us = next_us
            self._await(entry)

    def _commit(self, operations: Sequence[Operation], stored: Callable[[Sequence[Result]], None]) -> None:
        """Carry out operations that do no harm when they are repeated, again and again until it is known that they are.

        While the store cannot be written they wait, as everything does (DESIGN rule 8).
        """
        if self._closed:
            return
        if self._journal.failure is not None:
            self._commit_later(operations, stored)
        else:
            self._journal.add(Together(operations, after=_Once(partial(self._answered, operations, stored))))

    def _commit_later(self, operations: Sequence[Operation], stored: Callable[[Sequence[Result]], None]) -> None:
        self._clock.call_at(self._clock.now_us() + SECOND_US, partial(self._commit, operations, stored))

    def _answered(
        self,
        operations: Sequence[Operation],
        stored: Callable[[Sequence[Result]], None],
        result: Result | StoreError,
    ) -> bool:
        if isinstance(result, StoreError):
            self._commit_later(operations, stored)
        elif isinstance(result, Refused):
            log.error("schedule.refused", schedules=_named(operations), reason=result.reason)
            stored(())  # what cannot be stored now never can: let it not hold up what is due next
        else:
            stored(result.also if isinstance(result, Written) else [None] * len(operations))
        return True


class _Once:
    """An `Answer` that listens once: of an unknown outcome it is told again and again."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Callable[[Result | StoreError], bool]) -> None:
        self._answer: Callable[[Result | StoreError], bool] | None = answer

    def __call__(self, result: Result | StoreError) -> bool:
        answer, self._answer = self._answer, None
        return answer is not None and answer(result)


def _or_never(due_us: int | None) -> int:
    return NEVER_US if due_us is None else due_us


def _creation(run: tuple[RunRow, RunCreated]) -> Create:
    row, created = run
    return Create(row, LogRow(row.run, 1, row.created_us, encode_record(created)))


def _named(operations: Sequence[Operation]) -> list[str]:
    return [each.schedule for each in operations if isinstance(each, Reschedule)]
