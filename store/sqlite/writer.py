"""The writing half of the SQLite store: batches into transactions, on the store's one writer thread.

A batch is first written with few statements for all of its operations. Should one of those be refused, the
transaction is rolled back and repeated operation by operation under savepoints, so that only the one at fault
is left out.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, TypeVar

from msgspec.structs import astuple

from durably.store.duplicates import known_events
from durably.store.errors import CorruptStore, Fenced, StoreFailure, StoreUnavailable, UnknownOutcome
from durably.store.rows import (
    Append,
    Change,
    Conflict,
    Duplicate,
    EventRow,
    Ingest,
    LogRow,
    Missing,
    Operation,
    Put,
    Refused,
    Result,
    RunRow,
    TriggerRow,
)
from durably.store.sqlite.connection import damage_or, is_busy
from durably.store.sqlite.queries import QUERIES

__all__ = ["Writer"]

T = TypeVar("T")

REFUSALS = (
    sqlite3.IntegrityError,  # a sequence number or an id is taken
    sqlite3.DataError,  # too large
    sqlite3.InterfaceError,  # a type SQLite does not know; since Python 3.12 a ProgrammingError
    sqlite3.ProgrammingError,
    OverflowError,  # an integer of more than 64 bits
    UnicodeEncodeError,  # a lone surrogate
)
"""Errors that are known to be one operation's fault and to have changed nothing."""

ROWS_PER_STATEMENT = 64
"""Measured: 4.1 µs for two rows against 5.2 with `executemany`."""

HEADS_KEPT = 65_536
"""Last sequence numbers kept in memory, about 100 bytes each; without one, a look-up costs 2 µs."""

INSERT_RECORD = QUERIES["insert_record"]
INSERT_RECORDS = INSERT_RECORD + ", (?, ?, ?, ?)" * (ROWS_PER_STATEMENT - 1)


class _Pending:
    """What a batch comes to: the rows of each statement. Of several changes to a run the last one is kept."""

    __slots__ = ("changes", "created", "digests", "events", "items", "opened", "records", "taken")

    def __init__(self) -> None:
        self.created: list[tuple[Any, ...]] = []
        self.opened: set[int] = set()
        self.records: list[LogRow] = []
        self.changes: dict[int, Change] = {}
        self.events: list[EventRow] = []
        self.digests: dict[str, str] = {}
        self.items: list[tuple[int, int, bytes]] = []
        self.taken: list[tuple[int]] = []

    def create(self, row: RunRow) -> None:
        self.created.append(astuple(row))
        if row.phase is not None:
            self.opened.add(row.run)

    def execute(self, connection: sqlite3.Connection) -> None:
        if self.created:
            connection.executemany(QUERIES["insert_run"], self.created)
        if self.records:
            _insert_records(connection, self.records)
        if self.changes:
            changes = ((*change, run) for run, change in self.changes.items())
            connection.executemany(QUERIES["change_run"], changes)
        if self.events:
            connection.executemany(QUERIES["insert_event"], self.events)
        if self.items:
            connection.executemany(QUERIES["insert_item"], self.items)
        if self.taken:
            connection.executemany(QUERIES["delete_item"], self.taken)


def _insert_records(connection: sqlite3.Connection, records: list[LogRow]) -> None:
    whole = len(records) - len(records) % ROWS_PER_STATEMENT
    for start in range(0, whole, ROWS_PER_STATEMENT):
        rows = records[start : start + ROWS_PER_STATEMENT]
        connection.execute(INSERT_RECORDS, list(chain.from_iterable(rows)))
    if whole < len(records):
        connection.executemany(INSERT_RECORD, records[whole:])


class Writer:
    """One session's connection. Once an outcome is unknown it refuses everything; a new one has to be made.

    Every group is a compare-and-set. The session is checked inside the transaction, `UNIQUE (run, seq)`
    forbids a second record of the same number, and the last numbers of runs are kept here to forbid a gap:
    after a refused group those behind it, in this batch or in one that is already on its way, no longer fit.
    """

    def __init__(self, connection: sqlite3.Connection, token: str, location: str) -> None:
        self.token = token
        self._connection = connection
        self._location = location
        self._heads: dict[int, int] = {}
        self._failure: StoreFailure | None = None

    @property
    def damaged(self) -> bool:
        """The file was found to be corrupt. That does not heal by opening it again."""
        return isinstance(self._failure, CorruptStore)

    def commit(self, batch: Sequence[Operation]) -> list[Result] | StoreFailure:
        """Carry out a batch durably: what became of each operation, or why nothing is known to be done."""
        try:
            return self._guarded(lambda: self._commit(batch))
        except StoreFailure as failure:
            return failure

    def register(self, workflows: Sequence[tuple[str, int]], triggers: Sequence[TriggerRow]) -> None:
        """Replace the triggers of these workflows. Raises `StoreFailure`."""

        def replace() -> None:
            self._begin()
            self._connection.executemany(QUERIES["delete_triggers"], workflows)
            self._connection.executemany(QUERIES["insert_trigger"], triggers)
            self._connection.execute("COMMIT")

        self._guarded(replace)

    def end(self, now_us: int) -> None:
        """End the session, if it still is one. Raises `StoreFailure`."""

        def end() -> None:
            self._begin()
            self._connection.execute(QUERIES["end_sessions"], {"now_us": now_us})
            self._connection.execute("COMMIT")

        self._guarded(end)

    def close(self) -> None:
        self._connection.close()

    def _guarded(self, work: Callable[[], T]) -> T:
        """Do `work` unless an earlier outcome is unknown. An error that is not known makes this one so."""
        if self._failure is not None:
            raise self._failure
        try:
            return work()
        except StoreFailure:
            raise
        except Exception as error:
            # Whatever it was (I/O, a full disk, our mistake): somebody waits for an answer, and this is the
            # true one.
            self._failure = damage_or(UnknownOutcome, error, self._location, "The store has to be reopened.")
            with suppress(sqlite3.Error):  # lets go of the lock; it is not used again
                self._connection.close()
            raise self._failure from error

    def _begin(self) -> None:
        """Begin a transaction of this session. Raises `StoreUnavailable` or `Fenced`; then none is open."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            raise StoreUnavailable(
                f"{self._location} is locked by another process. Nothing was written; end that process, or try again."
            ) from error
        if connection.execute(QUERIES["current_session"]).fetchone() != (self.token,):
            connection.execute("ROLLBACK")
            raise Fenced(f"{self._location} was taken over by another engine. This one has to stop.")

    def _commit(self, batch: Sequence[Operation]) -> list[Result]:
        if len(self._heads) > HEADS_KEPT:
            self._heads.clear()
        self._begin()
        try:
            results = self._write(batch)
        except REFUSALS:
            self._connection.execute("ROLLBACK")
            self._heads.clear()
            self._begin()
            results = [self._write_alone(operation) for operation in batch]
        self._connection.execute("COMMIT")
        return results

    def _write_alone(self, operation: Operation) -> Result:
        self._connection.execute("SAVEPOINT operation")
        try:
            [result] = self._write((operation,))
        except REFUSALS as error:
            self._connection.execute("ROLLBACK TO operation")
            self._heads.clear()
            result = Refused(f"{type(error).__name__}: {error}")
        self._connection.execute("RELEASE operation")
        return result

    def _write(self, batch: Sequence[Operation]) -> list[Result]:
        """Write a batch inside the open transaction. After one of `REFUSALS` the caller has to roll back."""
        pending = _Pending()
        append = self._append
        results: list[Result] = []
        for operation in batch:
            match operation:
                case Append():
                    results.append(append(operation, pending))
                case Ingest():
                    results.append(self._ingest(operation, pending))
                case Put():
                    results.append(self._put(operation, pending))
        pending.execute(self._connection)
        return results

    def _head(self, run: int) -> int | None:
        """The last sequence number of a run; None when there is no such run."""
        head = self._heads.get(run)
        if head is None:
            (head,) = self._connection.execute(QUERIES["head"], (run,)).fetchone()
        return head

    def _append(self, operation: Append, pending: _Pending) -> Result:
        run = operation.run
        records = operation.records
        created = operation.created
        if records:
            head = self._head(run) if created is None else 0
            if head is None:
                return Refused(f"there is no run {run}")
            last = records[-1].seq
            if records[0].seq != head + 1 or last != head + len(records):
                return Refused(f"run {run}: records {records[0].seq} to {last} do not follow record {head}")
            self._heads[run] = last
            pending.records += records
        if created is not None:
            pending.create(created)
        if operation.change is not None:
            pending.changes[run] = operation.change
        if operation.taken:
            pending.taken += [(item,) for item in operation.taken]
        return None

    def _ingest(self, operation: Ingest, pending: _Pending) -> Result:
        known = known_events(operation, lambda event: self._digest(event, operation.window_us, pending))
        if isinstance(known, Conflict):
            return known
        for index, (event, runs) in enumerate(operation.events):
            if index in known:
                continue
            pending.events.append(event)
            pending.digests[event.id] = event.digest
            for row, record in runs:
                pending.create(row)
                pending.records.append(record)
                self._heads[record.run] = record.seq
        return Duplicate(tuple(known)) if known else None

    def _digest(self, event: EventRow, window_us: int, pending: _Pending) -> str | None:
        """The digest of an earlier event with this id, if there is one within the window."""
        if (digest := pending.digests.get(event.id)) is not None:
            return digest
        parameters = (event.id, event.received_us - window_us)
        row = self._connection.execute(QUERIES["known_event"], parameters).fetchone()
        return None if row is None else row[0]

    def _put(self, operation: Put, pending: _Pending) -> Result:
        row = operation.row
        if (change := pending.changes.get(row.run)) is not None:
            is_open = change.phase is not None
        else:
            is_open = (
                row.run in pending.opened
                or self._connection.execute(QUERIES["is_open"], (row.run,)).fetchone() is not None
            )
        if not is_open:
            return Missing()
        pending.items.append((row.run, row.at_us, row.body))
        return None
