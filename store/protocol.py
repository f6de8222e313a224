"""What an engine needs of a store. Every implementation passes one conformance suite (`tests/store`)."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from durably.store.errors import StoreFailure
from durably.store.rows import (
    DeliveryRow,
    DocumentRow,
    EventRow,
    InboxRow,
    LogRow,
    Operation,
    Result,
    RunQuery,
    RunRow,
    TriggerRow,
    UsageRow,
)

__all__ = ["Administration", "Done", "OpenRun", "Store"]

Done = Callable[[list[Result] | StoreFailure], None]
"""Told on the event loop what became of a batch: a result for each operation, or why none of them was carried out.

`UnknownOutcome` means that nobody can tell before `Store.reopen` has succeeded."""


class OpenRun(NamedTuple):
    """As much of an open run as recovery needs to decide whether to load it now or when its time comes."""

    run: int
    phase: str
    due_us: int | None


class Store(Protocol):
    """Rows and bytes, atomically. All methods are called on the engine's loop."""

    location: str
    """How errors and logs name this store; never holds a password."""

    async def open(self) -> None:
        """Take the lock, bring the schema up to date, begin a new session.

        Raises `StoreLocked`, `NewerStore`, `NotAStore` or `CorruptStore`.
        """
        ...

    async def reopen(self) -> None:
        """After an unknown outcome: end the session, begin a new one, and make sure that what is read is durable.

        Raises `StoreUnavailable` while that is not possible, `Fenced` when another engine has the store,
        `CorruptStore` when it is damaged. May be called again after any of its errors.
        """
        ...

    async def close(self) -> None:
        """End the session and release the lock. Legal twice, and before `open`."""
        ...

    def new_run(self) -> int:
        """A number for a new run, larger than every one before."""
        ...

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        """Carry out `batch` in one durable transaction and tell `done` on the loop. One batch at a time."""
        ...

    # -- reading: what has been committed, never what is being written

    async def run(self, run_id: str) -> RunRow | None:
        """The run with this public id."""
        ...

    async def run_numbered(self, run: int) -> RunRow | None:
        """The run with this number."""
        ...

    async def run_ids(self, runs: Sequence[int]) -> dict[int, str]:
        """The public ids of these runs."""
        ...

    async def runs(self, query: RunQuery) -> list[RunRow]:
        """One page of the runs that fit, in the order that is asked for."""
        ...

    async def records(self, runs: Sequence[int]) -> dict[int, list[LogRow]]:
        """The whole logs of these runs, in order of seq. Runs without records are left out."""
        ...

    async def records_after(self, run: int, seq: int, limit: int) -> list[LogRow]:
        """The next records of one run, in order, beginning behind `seq`."""
        ...

    async def first_records(self, runs: Sequence[int]) -> dict[int, LogRow]:
        """The `run.created` of each of these runs."""
        ...

    async def last_records(self, runs: Sequence[int]) -> dict[int, LogRow]:
        """The newest record of each of these runs."""
        ...

    async def open_runs(self, after: int, limit: int) -> list[OpenRun]:
        """Runs that have not ended, by number, beginning behind `after`."""
        ...

    async def due_runs(self, before_us: int, after: tuple[int, int], limit: int) -> list[tuple[int, int]]:
        """`(due_us, run)` of open runs due before `before_us`, in that order, beginning behind `after`."""
        ...

    async def inbox(self, runs: Sequence[int]) -> list[InboxRow]:
        """All inbox rows of these runs, oldest first. Read whole, never by a cursor."""
        ...

    async def inbox_runs(self) -> list[int]:
        """The runs for which something lies in the inbox."""
        ...

    async def event(self, event_id: str, environment: str = "production") -> EventRow | None:
        """The newest event with this id there."""
        ...

    async def events_since(
        self, name: str, after: tuple[int, int], limit: int, environment: str = "production"
    ) -> list[tuple[int, EventRow]]:
        """Events of that name there, and their numbers, oldest first: by when they were received, then by number.

        They begin behind `after`, such a pair: `(since_us, 0)` first, then the last one's of the page before.
        """
        ...

    async def wait_paths(self) -> list[tuple[str, tuple[str, ...]]]:
        """The distinct (event, paths) of all waits: which topics an arriving event may have."""
        ...

    async def tally(self, query: RunQuery, bucket_us: int) -> list[tuple[int, str, int]]:
        """How many runs fit, by the bucket they were created in (its beginning) and their status, oldest first.

        Order, paging and limit of the query do not matter. A bucket of 0 is all of time, beginning at 0.
        """
        ...

    async def documents(self, kind: str) -> list[DocumentRow]:
        """All documents of a kind, the oldest first, deleted ones too."""
        ...

    async def positions(self) -> dict[str, int]:
        """When each schedule is due next."""
        ...

    async def due_deliveries(self, limit: int) -> list[DeliveryRow]:
        """Deliveries that have a next attempt, those that are due first at the beginning."""
        ...

    async def deliveries(self, run_ids: Sequence[str]) -> list[DeliveryRow]:
        """The deliveries about these runs, oldest first."""
        ...

    async def usage(self, from_day: int, until_day: int) -> list[UsageRow]:
        """What was used from a day, inclusive, until another, exclusive: by day, environment and workflow."""
        ...

    async def triggers(self) -> list[TriggerRow]:
        """All registered triggers."""
        ...

    async def register_triggers(self, workflows: Sequence[tuple[str, int]], triggers: Sequence[TriggerRow]) -> None:
        """Replace the triggers of these (workflow, version) pairs."""
        ...


class Administration(Protocol):
    """Documents of `SHARED_KINDS`, written by a process that may be another one than the engine's.

    An asynchronous context manager: `async with administer(url) as administration: …`. Entering it makes a store where
    there is none, and brings an older one up to date, unless an engine has it.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

    async def documents(self, kind: str) -> list[DocumentRow]:
        """All documents of a kind, the oldest first, deleted ones too."""
        ...

    async def save(self, row: DocumentRow) -> None:
        """Write a document, as `Save` does; it is durable when this returns, and whoever reads next sees it.

        Raises:
            TakenDocument: it is not the version that follows the stored one.
            StoreFailure: the store cannot be written; only one that is damaged needs more than another try.
            ValueError: only the engine that has the store writes documents of this kind.
        """
        ...
