"""The reading half of the SQLite store: one read-only connection beside the writer's."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from durably.store.errors import NotAStore, StoreUnavailable
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
from durably.store.sqlite.connection import BUSY_TIMEOUT_S, damage_or, file_uri, opening_failure
from durably.store.sqlite.listing import listing, tally
from durably.store.sqlite.migrate import IDENTITY, MIGRATIONS, check_identity
from durably.store.sqlite.queries import QUERIES, json_list

__all__ = ["SqliteReader"]

RUNS_PER_READ = 256
"""Runs that one statement reads. A longer one would keep the WAL from being reset, and others waiting."""

T = TypeVar("T")
S = TypeVar("S", bound=Struct)


class SqliteReader:
    """Reads a store, also beside a running engine, and never writes to it.

    Every method is one trip to the connection's thread, or one for each `RUNS_PER_READ` runs; no snapshot
    outlives its statement. Raises `StoreUnavailable` or `CorruptStore` when the file cannot be read.
    """

    location: str

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.location = f"sqlite:///{path}"
        self._connection: aiosqlite.Connection | None = None

    async def open(self) -> None:
        """Open an existing store. Raises `NotAStore`, `NewerStore` or `CorruptStore`."""
        await self._connect()

    async def close(self) -> None:
        """Legal twice, and before `open`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _connect(self) -> None:
        """Open a new connection, check what it leads to, and let it take the place of the one before."""
        # Asked first, because aiosqlite leaves a thread behind for a moment when it cannot connect.
        if not (self.path.is_file() and os.access(self.path, os.R_OK)):
            raise NotAStore(f"{self.location}: there is no such file, or it cannot be read.")
        connection = aiosqlite.connect(
            file_uri(self.path, "ro"), uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
        )
        # Its thread is no daemon: a program that forgets close() would never end. (Until 0.21 it was the
        # thread.)
        thread: Any = getattr(connection, "_thread", connection)
        thread.daemon = True
        try:
            await connection
            try:
                [(application_id, version, objects)] = await connection.execute_fetchall(IDENTITY)
                check_identity(self.location, application_id, version, objects)
                if version < len(MIGRATIONS):
                    raise NotAStore(
                        f"{self.location} has schema version {version}, {len(MIGRATIONS)} is needed. Start "
                        "the engine on it once, or run `durably migrate`."
                    )
            except BaseException:
                await connection.close()
                raise
        except sqlite3.Error as error:
            raise opening_failure(error, self.location) from error
        before, self._connection = self._connection, connection
        if before is not None:
            await before.close()

    async def _fetch(self, statement: str, parameters: Sequence[Any] = ()) -> Iterable[Any]:
        connection = self._connection
        if connection is None:
            raise StoreUnavailable(f"{self.location} is not open.")
        try:
            return await connection.execute_fetchall(statement, parameters)
        except sqlite3.Error as error:
            raise damage_or(StoreUnavailable, error, self.location, "It cannot be read just now.") from error

    async def _first(self, statement: str, *parameters: Any) -> Any:
        return next(iter(await self._fetch(statement, parameters)), None)

    async def run(self, run_id: str) -> RunRow | None:
        row = await self._first(f"{QUERIES['runs']} WHERE id = ?", run_id)
        return None if row is None else _run_row(row)

    async def run_numbered(self, run: int) -> RunRow | None:
        row = await self._first(f"{QUERIES['runs']} WHERE run = ?", run)
        return None if row is None else _run_row(row)

    async def run_ids(self, runs: Sequence[int]) -> dict[int, str]:
        ids: dict[int, str] = {}
        for chunk in _chunks(runs):
            ids.update(await self._fetch(QUERIES["run_ids"], [json_list(chunk)]))
        return ids

    async def runs(self, query: RunQuery) -> list[RunRow]:
        return [_run_row(row) for row in await self._fetch(*listing(query))]

    async def tally(self, query: RunQuery, bucket_us: int) -> list[tuple[int, str, int]]:
        return list(await self._fetch(*tally(query, bucket_us)))

    async def records(self, runs: Sequence[int]) -> dict[int, list[LogRow]]:
        logs: dict[int, list[LogRow]] = {}
        for chunk in _chunks(runs):
            for row in map(LogRow._make, await self._fetch(QUERIES["records"], [json_list(chunk)])):
                logs.setdefault(row.run, []).append(row)
        return logs

    async def records_after(self, run: int, seq: int, limit: int) -> list[LogRow]:
        return [LogRow._make(row) for row in await self._fetch(QUERIES["records_after"], [run, seq, limit])]

    async def first_records(self, runs: Sequence[int]) -> dict[int, LogRow]:
        return await self._one_each("first_records", runs)

    async def last_records(self, runs: Sequence[int]) -> dict[int, LogRow]:
        return await self._one_each("last_records", runs)

    async def _one_each(self, query: str, runs: Sequence[int]) -> dict[int, LogRow]:
        records: dict[int, LogRow] = {}
        for chunk in _chunks(runs):
            rows = await self._fetch(QUERIES[query], [json_list(chunk)])
            records.update((row.run, row) for row in map(LogRow._make, rows))
        return records

    async def open_runs(self, after: int, limit: int) -> list[OpenRun]:
        return [OpenRun._make(row) for row in await self._fetch(QUERIES["open_runs"], [after, limit])]

    async def due_runs(self, before_us: int, after: tuple[int, int], limit: int) -> list[tuple[int, int]]:
        return list(await self._fetch(QUERIES["due_runs"], [before_us, *after, limit]))

    async def inbox(self, runs: Sequence[int]) -> list[InboxRow]:
        rows: list[InboxRow] = []
        for chunk in _chunks(runs):
            rows += map(InboxRow._make, await self._fetch(QUERIES["inbox"], [json_list(chunk)]))
        return sorted(rows, key=lambda row: row.item)

    async def inbox_runs(self) -> list[int]:
        return [run for (run,) in await self._fetch(QUERIES["inbox_runs"])]

    async def event(self, event_id: str, environment: str = "production") -> EventRow | None:
        row = await self._first(QUERIES["event"], event_id, environment)
        return None if row is None else EventRow._make(row)

    async def events_since(
        self, name: str, after: tuple[int, int], limit: int, environment: str = "production"
    ) -> list[tuple[int, EventRow]]:
        rows = await self._fetch(QUERIES["events_since"], [environment, name, *after, limit])
        return [(number, EventRow._make(row)) for number, *row in rows]

    async def wait_paths(self) -> list[tuple[str, tuple[str, ...]]]:
        rows = await self._fetch(QUERIES["wait_paths"])
        return [(event, tuple(msgspec.json.decode(paths, type=list[str]))) for event, paths in rows]

    async def triggers(self) -> list[TriggerRow]:
        return [TriggerRow._make(row) for row in await self._fetch(QUERIES["triggers"])]

    async def documents(self, kind: str) -> list[DocumentRow]:
        return [_struct(DocumentRow, row) for row in await self._fetch(QUERIES["documents"], [kind])]

    async def positions(self) -> dict[str, int]:
        return dict(await self._fetch(QUERIES["positions"]))

    async def due_deliveries(self, limit: int) -> list[DeliveryRow]:
        return [_struct(DeliveryRow, row) for row in await self._fetch(QUERIES["due_deliveries"], [limit])]

    async def deliveries(self, run_ids: Sequence[str]) -> list[DeliveryRow]:
        rows: list[DeliveryRow] = []
        for chunk in _chunks(run_ids):
            found = await self._fetch(QUERIES["deliveries"], [json_list(chunk)])
            rows += [_struct(DeliveryRow, row) for row in found]
        return sorted(rows, key=lambda row: row.created_us)

    async def usage(self, from_day: int, until_day: int) -> list[UsageRow]:
        return [UsageRow._make(row) for row in await self._fetch(QUERIES["usage"], [from_day, until_day])]


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + RUNS_PER_READ] for start in range(0, len(items), RUNS_PER_READ))


def _struct(kind: type[S], row: Sequence[Any]) -> S:
    """A struct of the values of its fields, in their order."""
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))


def _run_row(row: Sequence[Any]) -> RunRow:
    read = _struct(RunRow, row)
    return replace(read, test=bool(read.test))
