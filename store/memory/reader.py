"""The reading half of the store in memory."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice

from durably.store.memory.listing import page, tallied
from durably.store.memory.tables import Tables
from durably.store.protocol import OpenRun
from durably.store.rows import (
    DeliveryRow,
    DocumentRow,
    EventRow,
    InboxRow,
    LogRow,
    RunQuery,
    RunRow,
    TriggerRow,
    UsageRow,
)

__all__ = ["MemoryReader"]


class MemoryReader(Tables):
    """Reads what has been committed. See `Store`."""

    async def run(self, run_id: str) -> RunRow | None:
        number = self._numbers.get(run_id)
        return None if number is None else self._runs[number]

    async def run_numbered(self, run: int) -> RunRow | None:
        return self._runs.get(run)

    async def run_ids(self, runs: Sequence[int]) -> dict[int, str]:
        return {run: self._runs[run].id for run in runs if run in self._runs}

    async def runs(self, query: RunQuery) -> list[RunRow]:
        return page(self._runs.values(), query)

    async def tally(self, query: RunQuery, bucket_us: int) -> list[tuple[int, str, int]]:
        return tallied(self._runs.values(), query, bucket_us)

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
        return sorted((row for row in self._inbox.values() if row.run in wanted), key=lambda row: row.item)

    async def inbox_runs(self) -> list[int]:
        return sorted({row.run for row in self._inbox.values()})

    async def event(self, event_id: str, environment: str = "production") -> EventRow | None:
        number = self._newest.get((environment, event_id))
        return None if number is None else self._events[number]

    async def events_since(
        self, name: str, after: tuple[int, int], limit: int, environment: str = "production"
    ) -> list[tuple[int, EventRow]]:
        since_us, _ = after
        found = sorted(self._arrived(name, since_us, environment), key=_age)
        return found[bisect_right(found, after, key=_age) :][:limit]

    def _arrived(self, name: str, since_us: int, environment: str) -> list[tuple[int, EventRow]]:
        return [
            (number, row)
            for number, row in self._events.items()
            if row.name == name and row.received_us >= since_us and row.environment == environment
        ]

    async def wait_paths(self) -> list[tuple[str, tuple[str, ...]]]:
        return sorted({(wait.event, wait.paths) for wait in self._waits.values()})

    async def triggers(self) -> list[TriggerRow]:
        return sorted(self._triggers)

    async def documents(self, kind: str) -> list[DocumentRow]:
        return [row for _, row in sorted(self._documents.items()) if row.kind == kind]

    async def positions(self) -> dict[str, int]:
        return dict(sorted(self._positions.items()))

    async def due_deliveries(self, limit: int) -> list[DeliveryRow]:
        due = [(row.due_us, row) for row in self._deliveries.values() if row.due_us is not None]
        return [row for _, row in sorted(due, key=lambda each: each[0])][:limit]

    async def deliveries(self, run_ids: Sequence[str]) -> list[DeliveryRow]:
        wanted = set(run_ids)
        found = (row for row in self._deliveries.values() if row.run_id in wanted)
        return sorted(found, key=lambda row: row.created_us)

    async def usage(self, from_day: int, until_day: int) -> list[UsageRow]:
        return sorted(row for row in self._usage.values() if from_day <= row.day < until_day)


def _age(event: tuple[int, EventRow]) -> tuple[int, int]:
    number, row = event
    return row.received_us, number
