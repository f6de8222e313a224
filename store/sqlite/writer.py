"""The writing half of the SQLite store: batches into transactions, on the store's one writer thread.

A batch is first written with few statements for all of its operations. Should one of those be refused, the
transaction is rolled back and repeated operation by operation under savepoints, so that only the one at fault
is left out.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from durably.store.duplicates import known_events
from durably.store.errors import CorruptStore, Fenced, StoreFailure, StoreUnavailable, UnknownOutcome
from durably.store.rows import (
    Append,
    Conflict,
    Create,
    EventRow,
    Existing,
    Forget,
    Forgotten,
    Ingest,
    Missing,
    Notify,
    Operation,
    Put,
    Refused,
    Reschedule,
    Result,
    Save,
    Together,
    TriggerRow,
    WaitRow,
    Written,
)
from durably.store.sqlite.connection import damage_or, is_busy
from durably.store.sqlite.documents import save_document
from durably.store.sqlite.pending import Pending
from durably.store.sqlite.queries import QUERIES, json_list
from durably.store.sqlite.retention import forget_events, forget_runs
from durably.store.together import RefusedWithinError, accepted

__all__ = ["Writer"]

T = TypeVar("T")

REFUSALS = (
    sqlite3.IntegrityError,  # a sequence number or an id is taken
    sqlite3.DataError,  # too large
    sqlite3.InterfaceError,  # a type SQLite does not know; since Python 3.12 a ProgrammingError
    sqlite3.ProgrammingError,
    OverflowError,  # an integer of more than 64 bits
    UnicodeEncodeError,  # a lone surrogate
    RefusedWithinError,  # one of those that belong together
)
"""Errors that are known to be one operation's fault and to have changed nothing."""

HEADS_KEPT = 65_536
"""Last sequence numbers kept in memory, about 100 bytes each; without one, a look-up costs 2 µs."""


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
            why = str(error) if isinstance(error, RefusedWithinError) else f"{type(error).__name__}: {error}"
            result = Refused(why)
        self._connection.execute("RELEASE operation")
        return result

    def _write(self, batch: Sequence[Operation]) -> list[Result]:
        """Write a batch inside the open transaction. After one of `REFUSALS` the caller has to roll back."""
        pending = Pending()
        carry_out = self._carry_out
        results = [carry_out(operation, pending) for operation in batch]
        pending.execute(self._connection)
        return results

    def _carry_out(self, operation: Operation, pending: Pending) -> Result:
        match operation:
            case Append():
                return self._append(operation, pending)
            case Create():
                return self._create(operation, pending)
            case Ingest():
                return self._ingest(operation, pending)
            case Put():
                return self._put(operation, pending)
            case _:
                return self._administer(operation, pending)

    def _administer(
        self, operation: Save | Reschedule | Notify | Forget | Together, pending: Pending
    ) -> Refused | Forgotten | Written | None:
        """What is rare."""
        match operation:
            case Save():
                return save_document(self._connection, operation.row)
            case Reschedule():
                pending.positions[operation.schedule] = operation.due_us
            case Notify():
                pending.deliveries.append(operation.row)
            case Forget():
                return self._forget(operation, pending)
            case Together():
                return Written(also=accepted(self._carry_out(each, pending) for each in operation.operations))
        return None

    def _head(self, run: int) -> int | None:
        """The last sequence number of a run; None when there is no such run."""
        head = self._heads.get(run)
        if head is None:
            (head,) = self._connection.execute(QUERIES["head"], (run,)).fetchone()
        return head

    def _append(self, operation: Append, pending: Pending) -> Result:
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
        if operation.used is not None:
            pending.use(operation.used)
        if operation.waits or operation.unwaits or operation.also or operation.heir is not None:
            return self._append_more(operation, pending)
        return None

    def _append_more(self, operation: Append, pending: Pending) -> Result:
        """What few groups have: waits for events, and things done to other runs."""
        run = operation.run
        woken: tuple[int, ...] = ()
        pending.waits.update(((run, key), None) for key in operation.unwaits)
        for wait in operation.waits:
            pending.waits[run, wait.key] = wait
            if wait.since_us is not None and self._has_arrived(wait, wait.since_us, pending):
                pending.items.append((run, operation.records[-1].at_us, wait.look_back))
                woken = (run,)
        also = accepted(self._carry_out(each, pending) for each in operation.also)
        if operation.heir is not None:
            pending.bequests.append((operation.heir, run))
            woken += (operation.heir,)
        return Written(woken=woken, also=also) if woken or also else None

    def _has_arrived(self, wait: WaitRow, since_us: int, pending: Pending) -> bool:
        place = wait.environment, wait.event
        return any(
            (each.environment, each.name) == place and each.received_us >= since_us for each in pending.events
        ) or self._is_there("has_arrived", *place, since_us)

    def _is_there(self, query: str, *parameters: Any) -> bool:
        return self._connection.execute(QUERIES[query], parameters).fetchone() is not None

    def _create(self, operation: Create, pending: Pending) -> Result:
        existing = self._number(operation.row.id, pending)
        if existing is not None:
            if operation.known is not None:
                pending.items.append(operation.known[:3])
            return Existing(existing)
        pending.create(operation.row)
        pending.records.append(operation.record)
        self._heads[operation.record.run] = operation.record.seq
        return None

    def _number(self, run_id: str, pending: Pending) -> int | None:
        if (number := pending.numbers.get(run_id)) is not None:
            return number
        row = self._connection.execute(QUERIES["number"], (run_id,)).fetchone()
        return None if row is None else row[0]

    def _ingest(self, operation: Ingest, pending: Pending) -> Result:
        known = known_events(operation, lambda event: self._digest(event, operation.window_us, pending))
        if isinstance(known, Conflict):
            return known
        woken: tuple[int, ...] = ()
        for index, (event, runs, topics, item) in enumerate(operation.events):
            if index in known:
                continue
            pending.events.append(event)
            pending.digests[event.environment, event.id] = event.digest
            for row, record in runs:
                pending.create(row)
                pending.records.append(record)
                self._heads[record.run] = record.seq
            if topics:
                waiting = self._waiting(topics, event.environment, pending)
                pending.items += [(run, event.received_us, item) for run in waiting]
                woken += waiting
        return Written(tuple(known), woken) if known or woken else None

    def _waiting(self, topics: Sequence[str], environment: str, pending: Pending) -> tuple[int, ...]:
        """The runs with a wait for one of these topics."""
        rows = self._connection.execute(QUERIES["waiting"], (json_list(topics), environment)).fetchall()
        runs = {run for run, key in rows if (run, key) not in pending.waits}
        runs.update(
            run
            for (run, _), wait in pending.waits.items()
            if wait is not None and wait.topic in topics and wait.environment == environment
        )
        return tuple(sorted(runs))

    def _digest(self, event: EventRow, window_us: int, pending: Pending) -> str | None:
        """The digest of an earlier event with this id, if there is one within the window."""
        if (digest := pending.digests.get((event.environment, event.id))) is not None:
            return digest
        parameters = (event.id, event.environment, event.received_us - window_us)
        row = self._connection.execute(QUERIES["known_event"], parameters).fetchone()
        return None if row is None else row[0]

    def _put(self, operation: Put, pending: Pending) -> Result:
        row, to = operation.row, operation.to
        number = row.run if to is None else self._number(to, pending)
        run = None if number is None else self._open_run(number, pending)
        if run is None:
            return Missing()
        pending.items.append((run, row.at_us, row.body))
        return Written(woken=(run,))

    def _open_run(self, run: int | None, pending: Pending) -> int | None:
        """The run, or the one it goes on as, if that has not ended."""
        while run is not None:
            if (change := pending.changes.get(run)) is not None:
                phase, heir = change.phase, change.continued_to
            elif run in pending.opened:
                return run
            else:
                row = self._connection.execute(QUERIES["standing"], (run,)).fetchone()
                phase, heir = (None, None) if row is None else row
            if phase is not None:
                return run
            run = None if heir is None else self._number(heir, pending)
        return None

    def _forget(self, operation: Forget, pending: Pending) -> Forgotten:
        """What comes before it in the batch is written first, so that it is seen."""
        pending.execute(self._connection)
        pending.clear()
        runs = forget_runs(self._connection, operation)
        for run in runs:
            self._heads.pop(run, None)
        return Forgotten(len(runs), forget_events(self._connection, operation))
