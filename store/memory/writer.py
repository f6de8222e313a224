"""The writing half of the store in memory: what each operation does to the tables."""

from collections.abc import Sequence

from msgspec.structs import replace

from durably.store.documents import why_out_of_turn
from durably.store.duplicates import known_events
from durably.store.memory.reader import MemoryReader
from durably.store.memory.storable import is_storable
from durably.store.rows import (
    Append,
    Arrival,
    Conflict,
    Create,
    EventRow,
    Existing,
    Forget,
    Forgotten,
    InboxRow,
    Ingest,
    Missing,
    Notify,
    Operation,
    Put,
    Refused,
    Reschedule,
    Result,
    RunRow,
    Save,
    Together,
    UsageRow,
    WaitRow,
    Written,
)
from durably.store.together import RefusedWithinError, accepted

__all__ = ["MemoryWriter"]


class MemoryWriter(MemoryReader):
    """Carries out operations, one after another; one that is refused leaves no trace."""

    def __init__(self) -> None:
        super().__init__()
        self._last_item = 0
        self._last_event = 0
        self._last_document = 0

    def _carry_out(self, batch: Sequence[Operation]) -> list[Result]:
        return [self._attempt(operation) for operation in batch]

    def _attempt(self, operation: Operation) -> Result:
        self._undo.clear()
        try:
            result = self._do(operation)
        except RefusedWithinError as refusal:
            result = Refused(str(refusal))
        if self._undo and not is_storable(operation):
            result = Refused("a value cannot be stored")
        if isinstance(result, Refused):
            self._roll_back()
        return result

    def _do(self, operation: Operation) -> Result:
        match operation:
            case Append():
                result = self._append(operation)
            case Create():
                result = self._create_unless_there(operation)
            case Ingest():
                result = self._ingest(operation)
            case Put():
                result = self._put(operation)
            case Save():
                result = self._save(operation)
            case Reschedule():
                result = self._reschedule(operation)
            case Notify():
                result = self._notify(operation)
            case Forget():
                result = self._forget(operation)
            case Together():
                result = Written(also=accepted(map(self._do, operation.operations)))
        return result

    # -- runs and their logs

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
        if created is not None:
            self._create(created)
        if records:
            self._extend_log(run, records)
        if operation.change is not None and run in self._runs:
            self._set(self._runs, run, replace(self._runs[run], **operation.change._asdict()))
        for item in operation.taken:
            self._drop(self._inbox, item)
        if operation.used is not None:
            self._use(operation.used)
        return self._append_more(operation)

    def _append_more(self, operation: Append) -> Result:
        run = operation.run
        woken: tuple[int, ...] = ()
        for key in operation.unwaits:
            self._drop(self._waits, (run, key))
        for wait in operation.waits:
            self._set(self._waits, (run, wait.key), wait)
            if wait.since_us is not None and self._arrived(wait.event, wait.since_us, wait.environment):
                self._put_item(InboxRow(run, operation.records[-1].at_us, wait.look_back))
                woken = (run,)
        also = accepted(map(self._do, operation.also))
        if operation.heir is not None:
            for item, row in list(self._inbox.items()):
                if row.run == run:
                    self._set(self._inbox, item, row._replace(run=operation.heir))
            woken += (operation.heir,)
        return Written(woken=woken, also=also) if woken or also else None

    def _use(self, used: UsageRow) -> None:
        day, environment, workflow, runs, tasks = used
        before = self._usage.get((day, environment, workflow))
        total = used if before is None else before._replace(runs=before.runs + runs, tasks=before.tasks + tasks)
        self._set(self._usage, (day, environment, workflow), total)

    def _create_unless_there(self, operation: Create) -> Result:
        existing = self._numbers.get(operation.row.id)
        if existing is not None:
            if operation.known is not None:
                self._put_item(operation.known)
            return Existing(existing)
        if self._is_taken([operation.row]):
            return Refused(f"run {operation.row.run} exists already")
        self._create(operation.row)
        self._extend_log(operation.row.run, [operation.record])
        return None

    def _is_taken(self, rows: Sequence[RunRow]) -> bool:
        numbers = {row.run for row in rows}
        ids = {row.id for row in rows}
        distinct = len(numbers) == len(ids) == len(rows)
        return not distinct or not self._runs.keys().isdisjoint(numbers) or not self._numbers.keys().isdisjoint(ids)

    def _create(self, row: RunRow) -> None:
        self._set(self._runs, row.run, row)
        self._set(self._numbers, row.id, row.run)

    # -- events and the inbox

    def _ingest(self, operation: Ingest) -> Result:
        known = known_events(operation, lambda event: self._digest(event, operation.window_us))
        if isinstance(known, Conflict):
            return known
        fresh = [arrival for index, arrival in enumerate(operation.events) if index not in known]
        if self._is_taken([row for arrival in fresh for row, _ in arrival.runs]):
            return Refused("a run of that number or id exists already")
        woken = tuple(run for arrival in fresh for run in self._take_in(arrival))
        return Written(tuple(known), woken) if known or woken else None

    def _take_in(self, arrival: Arrival) -> list[int]:
        """Store an event and the runs it starts; the runs it wakes."""
        event = arrival.event
        self._last_event += 1
        self._set(self._events, self._last_event, event)
        self._set(self._newest, (event.environment, event.id), self._last_event)
        for row, record in arrival.runs:
            self._create(row)
            self._extend_log(row.run, [record])
        woken = sorted({run for (run, _), wait in self._waits.items() if _is_for(wait, arrival)})
        for run in woken:
            self._put_item(InboxRow(run, event.received_us, arrival.item))
        return woken

    def _digest(self, event: EventRow, window_us: int) -> str | None:
        number = self._newest.get((event.environment, event.id))
        earlier = None if number is None else self._events[number]
        if earlier is None or earlier.received_us <= event.received_us - window_us:
            return None
        return earlier.digest

    def _put(self, operation: Put) -> Result:
        row, to = operation.row, operation.to
        run = self._runs.get(row.run if to is None else self._numbers.get(to, 0))
        while run is not None and run.phase is None:
            run = None if run.continued_to is None else self._runs.get(self._numbers.get(run.continued_to, 0))
        if run is None:
            return Missing()
        self._put_item(row._replace(run=run.run))
        return Written(woken=(run.run,))

    def _put_item(self, row: InboxRow) -> None:
        self._last_item += 1
        self._set(self._inbox, self._last_item, row._replace(item=self._last_item))

    # -- documents, schedules, deliveries

    def _save(self, operation: Save) -> Result:
        row = operation.row
        place = row.kind, row.id
        number = self._living.get(place)
        why = why_out_of_turn(row, None if number is None else self._documents[number].version)
        if why is not None:
            return Refused(why)
        if number is None:
            self._last_document += 1
            number = self._last_document
        self._set(self._documents, number, row)
        if row.deleted_us is None:
            self._set(self._living, place, number)
        else:
            self._drop(self._living, place)
        return None

    def _reschedule(self, operation: Reschedule) -> Result:
        if operation.due_us is None:
            self._drop(self._positions, operation.schedule)
        else:
            self._set(self._positions, operation.schedule, operation.due_us)
        return None

    def _notify(self, operation: Notify) -> Result:
        row = operation.row
        before = self._deliveries.get(row.message)
        if before is None or before.attempts < row.attempts:
            self._set(self._deliveries, row.message, row)
        return None

    # -- retention

    def _forget(self, operation: Forget) -> Result:
        before_us, limit = operation.before_us, operation.limit
        ended = [
            (row.finished_us, row.run)
            for row in self._runs.values()
            if row.phase is None and row.finished_us is not None and row.finished_us < before_us
        ]
        runs = [run for _, run in sorted(ended)[:limit]]
        for run in runs:
            self._forget_run(run)
        # After the runs: none that is open may lose an event it could look back to.
        oldest_us = min((row.created_us for row in self._runs.values() if row.phase is not None), default=before_us)
        old = [
            (event.received_us, number)
            for number, event in self._events.items()
            if event.received_us < min(before_us, oldest_us)
        ]
        events = [number for _, number in sorted(old)[:limit]]
        for number in events:
            self._forget_event(number)
        return Forgotten(len(runs), len(events))

    def _forget_run(self, run: int) -> None:
        run_id = self._runs[run].id
        self._drop(self._runs, run)
        self._drop(self._numbers, run_id)
        self._drop(self._log, run)
        for item in [item for item, row in self._inbox.items() if row.run == run]:
            self._drop(self._inbox, item)
        for place in [place for place in self._waits if place[0] == run]:
            self._drop(self._waits, place)
        for message in [message for message, row in self._deliveries.items() if row.run_id == run_id]:
            self._drop(self._deliveries, message)

    def _forget_event(self, number: int) -> None:
        event = self._events[number]
        self._drop(self._events, number)
        if self._newest.get((event.environment, event.id)) == number:
            self._drop(self._newest, (event.environment, event.id))


def _is_for(wait: WaitRow, arrival: Arrival) -> bool:
    return wait.topic in arrival.topics and wait.environment == arrival.event.environment
