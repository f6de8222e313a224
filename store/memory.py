"""The store in dictionaries: for tests, and for whatever need not outlive its process."""

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from msgspec import UNSET
from msgspec.structs import astuple, replace

from durably.store.duplicates import known_events
from durably.store.errors import Fenced, StoreLocked, StoreUnavailable
from durably.store.protocol import Done, OpenRun
from durably.store.rows import (
    Append,
    Arrival,
    Conflict,
    Create,
    EventRow,
    Existing,
    InboxRow,
    Ingest,
    LogRow,
    Missing,
    Operation,
    Put,
    Refused,
    Result,
    RunQuery,
    RunRow,
    TriggerRow,
    WaitRow,
    Written,
)

__all__ = ["MemoryStore"]

FILTERS = ("status", "phase", "workflow", "trigger", "environment", "event")


class MemoryStore:
    """A `Store` without a file. What is in it survives `close` and a new `open` of the same object.

    Answers come through `loop.call_soon`, in order, and a batch is carried out when it is answered: what was
    submitted by a session that has ended meanwhile is fenced, as it is on a disk.
    """

    location = "memory://"

    def __init__(self) -> None:
        self._session = 0
        self._is_open = False
        self._last_run = 0
        self._last_item = 0
        self._runs: dict[int, RunRow] = {}
        self._numbers: dict[str, int] = {}
        self._log: dict[int, list[LogRow]] = {}
        self._events: list[EventRow] = []
        self._newest: dict[str, EventRow] = {}
        self._waits: dict[tuple[int, str], WaitRow] = {}
        self._inbox: dict[int, InboxRow] = {}
        self._triggers: list[TriggerRow] = []

    async def open(self) -> None:
        if self._is_open:
            raise StoreLocked("This memory:// store is in use by another engine. Close that one first.")
        self._is_open = True
        self._session += 1

    async def reopen(self) -> None:
        if not self._is_open:
            raise StoreUnavailable("This memory:// store is not open.")
        self._session += 1

    async def close(self) -> None:
        self._is_open = False
        self._session += 1

    def new_run(self) -> int:
        self._last_run += 1
        return self._last_run

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        asyncio.get_running_loop().call_soon(self._answer, batch, done, self._session)

    def _answer(self, batch: Sequence[Operation], done: Done, session: int) -> None:
        if session != self._session or not self._is_open:
            done(Fenced("This session of the memory:// store has ended."))
        else:
            done(self._carry_out(batch))

    def _carry_out(self, batch: Sequence[Operation]) -> list[Result]:
        return [self._do(operation) for operation in batch]

    def _do(self, operation: Operation) -> Result:
        match operation:
            case Append():
                return self._append(operation)
            case Create():
                return self._create_unless_there(operation)
            case Ingest():
                return self._ingest(operation)
            case Put():
                return self._put(operation)

    # -- one operation each: everything is checked before anything is changed

    def _append(self, operation: Append) -> Result:
        run, records, created = operation.run, operation.records, operation.created
        if created is not None and self._is_taken([created]):
            return Refused(f"run {run} or its id {created.id} exists already")
        if records:
            head = 0 if created is not None else len(self._log.get(run, ()))
            if created is None and not head:
                return Refused(f"there is no run {run}")
            if [record.seq for record in records] != list(range(head + 1, head + 1 + len(records))):
                return Refused(f"run {run}: the records do not follow record {head}")
        if not _storable(*_rows_of(operation)):
            return Refused(f"run {run}: a value cannot be stored")
        if created is not None:
            self._create(created)
        if records:
            self._log.setdefault(run, []).extend(records)
        if operation.change is not None and run in self._runs:
            self._runs[run] = replace(self._runs[run], **operation.change._asdict())
        for item in operation.taken:
            self._inbox.pop(item, None)
        return self._append_more(operation)

    def _append_more(self, operation: Append) -> Result:
        run = operation.run
        woken: tuple[int, ...] = ()
        for key in operation.unwaits:
            self._waits.pop((run, key), None)
        for wait in operation.waits:
            self._waits[run, wait.key] = wait
            if wait.since_us is not None and self._arrived(wait.event, wait.since_us):
                self._put_item(InboxRow(run, operation.records[-1].at_us, wait.look_back))
                woken = (run,)
        also = tuple(self._do(each) for each in operation.also)
        if operation.heir is not None:
            for item, row in self._inbox.items():
                if row.run == run:
                    self._inbox[item] = row._replace(run=operation.heir)
            woken += (operation.heir,)
        return Written(woken=woken, also=also) if woken or also else None

    def _arrived(self, name: str, since_us: int) -> list[tuple[int, EventRow]]:
        return [
            (number, row)
            for number, row in enumerate(self._events, 1)
            if row.name == name and row.received_us >= since_us
        ]

    def _create_unless_there(self, operation: Create) -> Result:
        existing = self._numbers.get(operation.row.id)
        if existing is not None:
            if operation.known is not None:
                self._put_item(operation.known)
            return Existing(existing)
        self._create(operation.row)
        self._log[operation.row.run] = [operation.record]
        return None

    def _ingest(self, operation: Ingest) -> Result:
        known = known_events(operation, lambda event: self._digest(event, operation.window_us))
        if isinstance(known, Conflict):
            return known
        fresh = [arrival for index, arrival in enumerate(operation.events) if index not in known]
        if self._is_taken([row for arrival in fresh for row, _ in arrival.runs]):
            return Refused("a run of that number or id exists already")
        if not _storable(*_rows_of(operation)):
            return Refused("a value cannot be stored")
        woken = tuple(run for arrival in fresh for run in self._take_in(arrival))
        return Written(tuple(known), woken) if known or woken else None

    def _take_in(self, arrival: Arrival) -> list[int]:
        """Store an event and the runs it starts; the runs it wakes."""
        event = arrival.event
        self._events.append(event)
        self._newest[event.id] = event
        for row, record in arrival.runs:
            self._create(row)
            self._log[row.run] = [record]
        woken = sorted({run for (run, _), wait in self._waits.items() if wait.topic in arrival.topics})
        for run in woken:
            self._put_item(InboxRow(run, event.received_us, arrival.item))
        return woken

    def _put(self, operation: Put) -> Result:
        row, to = operation.row, operation.to
        run = self._runs.get(row.run if to is None else self._numbers.get(to, 0))
        while run is not None and run.phase is None:
            run = None if run.continued_to is None else self._runs[self._numbers[run.continued_to]]
        if run is None:
            return Missing()
        if not _storable(row):
            return Refused(f"run {row.run}: a value cannot be stored")
        self._put_item(row._replace(run=run.run))
        return Written(woken=(run.run,))

    def _put_item(self, row: InboxRow) -> None:
        self._last_item += 1
        self._inbox[self._last_item] = row._replace(item=self._last_item)

    def _digest(self, event: EventRow, window_us: int) -> str | None:
        earlier = self._newest.get(event.id)
        if earlier is None or earlier.received_us <= event.received_us - window_us:
            return None
        return earlier.digest

    def _is_taken(self, rows: Sequence[RunRow]) -> bool:
        numbers = {row.run for row in rows}
        ids = {row.id for row in rows}
        distinct = len(numbers) == len(ids) == len(rows)
        return not distinct or not self._runs.keys().isdisjoint(numbers) or not self._numbers.keys().isdisjoint(ids)

    def _create(self, row: RunRow) -> None:
        self._runs[row.run] = row
        self._numbers[row.id] = row.run

    # -- reading

    async def run(self, run_id: str) -> RunRow | None:
        number = self._numbers.get(run_id)
        return None if number is None else self._runs[number]

    async def run_numbered(self, run: int) -> RunRow | None:
        return self._runs.get(run)

    async def run_ids(self, runs: Sequence[int]) -> dict[int, str]:
        return {run: self._runs[run].id for run in runs if run in self._runs}

    async def runs(self, query: RunQuery) -> list[RunRow]:
        newest_first = (self._runs[run] for run in sorted(self._runs, reverse=True))
        return list(islice((row for row in newest_first if _matches(row, query)), query.limit))

    async def records(self, runs: Sequence[int]) -> dict[int, list[LogRow]]:
        return {run: list(self._log[run]) for run in runs if run in self._log}

    async def records_after(self, run: int, seq: int, limit: int) -> list[LogRow]:
        return self._log.get(run, [])[seq : seq + limit]  # seqs begin at 1 and have no gap

    async def first_records(self, runs: Sequence[int]) -> dict[int, LogRow]:
        return {run: self._log[run][0] for run in runs if run in self._log}

    async def last_records(self, runs: Sequence[int]) -> dict[int, LogRow]:
        return {run: self._log[run][-1] for run in runs if run in self._log}

    async def open_runs(self, after: int, limit: int) -> list[OpenRun]:
        rows = (self._runs[run] for run in sorted(self._runs) if run > after)
        return list(islice((OpenRun(row.run, row.phase, row.due_us) for row in rows if row.phase is not None), limit))

    async def due_runs(self, before_us: int, after: tuple[int, int], limit: int) -> list[tuple[int, int]]:
        due = (
            (row.due_us, row.run)
            for row in self._runs.values()
            if row.phase is not None and row.due_us is not None and row.due_us < before_us
        )
        return sorted(pair for pair in due if pair > after)[:limit]

    async def inbox(self, runs: Sequence[int]) -> list[InboxRow]:
        wanted = set(runs)
        return [row for row in self._inbox.values() if row.run in wanted]

    async def inbox_runs(self) -> list[int]:
        return sorted({row.run for row in self._inbox.values()})

    async def event(self, event_id: str) -> EventRow | None:
        return self._newest.get(event_id)

    async def events_since(self, name: str, after: tuple[int, int], limit: int) -> list[tuple[int, EventRow]]:
        since_us, _ = after
        found = sorted(self._arrived(name, since_us), key=_age)
        return found[bisect_right(found, after, key=_age) :][:limit]

    async def wait_paths(self) -> list[tuple[str, tuple[str, ...]]]:
        return sorted({(wait.event, wait.paths) for wait in self._waits.values()})

    async def triggers(self) -> list[TriggerRow]:
        return sorted(self._triggers)

    async def register_triggers(self, workflows: Sequence[tuple[str, int]], triggers: Sequence[TriggerRow]) -> None:
        replaced = set(workflows)
        kept = [row for row in self._triggers if (row.workflow, row.version) not in replaced]
        self._triggers = [*kept, *triggers]


def _age(event: tuple[int, EventRow]) -> tuple[int, int]:
    number, row = event
    return row.received_us, number


def _matches(row: RunRow, query: RunQuery) -> bool:
    return (
        all(not (wanted := getattr(query, name)) or getattr(row, name) in wanted for name in FILTERS)
        and (query.origin is UNSET or row.origin == query.origin)
        and (query.created_from_us is None or row.created_us >= query.created_from_us)
        and (query.created_until_us is None or row.created_us < query.created_until_us)
        and (query.before is None or row.run < query.before)
    )


def _rows_of(operation: Operation) -> Iterator[Iterable[Any]]:
    """Everything an operation wants to have stored."""
    match operation:
        case Append():
            yield from operation.records
            yield operation.change or ()
            yield operation.taken
            yield _values(operation.created)
            for each in operation.also:
                yield from _rows_of(each)
        case Create():
            yield from (_values(operation.row), operation.record, operation.known or ())
        case Ingest():
            for arrival in operation.events:
                yield arrival.event
                for row, record in arrival.runs:
                    yield from (_values(row), record)
        case Put():
            yield operation.row


def _values(row: RunRow | None) -> tuple[Any, ...]:
    return () if row is None else astuple(row)


def _storable(*rows: Iterable[Any]) -> bool:
    """Whether a disk would take these values too: 64-bit integers, encodable text, bytes."""
    return all(_is_storable(value) for row in rows for value in row)


def _is_storable(value: object) -> bool:
    match value:
        case None | bytes():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case str():
            return not any("\ud800" <= character <= "\udfff" for character in value)
        case _:
            return False
