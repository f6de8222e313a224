"""The rows an engine hands to a store and reads back.

A store knows bytes, numbers and names; what a record means is the engine's business. Times are integer microseconds
since the Unix epoch. A run has two ids: `id`, the public one, and `run`, a small integer given out by the store, which
is what the log and the inbox refer to (a random text as the log's key would cost four times the bytes and CPU).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import UNSET, Struct, UnsetType

__all__ = [
    "Append",
    "Arrival",
    "Change",
    "Conflict",
    "Create",
    "EventRow",
    "Existing",
    "InboxRow",
    "Ingest",
    "LogRow",
    "Missing",
    "Operation",
    "Put",
    "Refused",
    "Result",
    "RunQuery",
    "RunRow",
    "TriggerRow",
    "WaitRow",
    "Written",
]


class LogRow(NamedTuple):
    """One record of a run's log; `body` is its JSON object without `seq` and `at`."""

    run: int
    seq: int
    at_us: int
    body: bytes


class RunRow(Struct, frozen=True, kw_only=True):
    """A run as lists show it: a projection of its log (DESIGN rule 10), written in the same transaction."""

    run: int
    id: str
    workflow: str
    version: int
    trigger: str
    environment: str
    event: str | None = None
    """Name of the event that triggered it."""
    event_id: str | None = None
    origin: str | None = None
    """Public id of the run this one is a rerun, fork or child of."""
    test: bool = False
    status: str = "PENDING"
    phase: str | None = "queued"
    """None once the run has ended."""
    due_us: int | None = None
    """When its next timer or retry is due; None when nothing is waiting for time to pass."""
    tasks: int = 0
    seq: int = 1
    """Sequence number of the last record at the time this row was last written; exact once the run has ended."""
    created_us: int = 0
    started_us: int | None = None
    finished_us: int | None = None
    continued_to: str | None = None
    """Public id of the run that this one goes on as."""


class Change(NamedTuple):
    """What of a `RunRow` an append changes. Of several in one batch the last one is written."""

    status: str
    phase: str | None
    due_us: int | None
    tasks: int
    seq: int
    started_us: int | None
    finished_us: int | None
    continued_to: str | None = None


class EventRow(NamedTuple):
    """An event as it was received. `digest` tells whether another one with the same id is the same event."""

    id: str
    name: str
    received_us: int
    digest: str
    body: bytes


class InboxRow(NamedTuple):
    """Something for a run to see that only its owner may put in its log (DESIGN rule 9); the store gives `item`."""

    run: int
    at_us: int
    body: bytes
    item: int = 0


class TriggerRow(NamedTuple):
    """An event name or pattern that starts a workflow, so that every ingesting process knows it."""

    workflow: str
    version: int
    event: str
    environment: str
    condition: str = ""
    """What must hold of the event, in CEL."""


class WaitRow(NamedTuple):
    """A wait for an event, registered in the group that asks for it (DESIGN rule 9).

    `topic` is the engine's digest of the event's name and of the values it must have at `paths`: an event that arrives
    carries all the topics it belongs to. When an event of that name has arrived since `since_us`, `look_back` is put
    into the run's inbox with the wait.
    """

    key: str
    event: str
    paths: tuple[str, ...]
    topic: str
    since_us: int | None = None
    look_back: bytes = b""


class Append(Struct, gc=False):
    """One group of a run's log: atomic, adjacent, in one commit.

    `records` follow each other without a gap and go on where the run's log ends, or the group is `Refused`. `created`
    is given when the group creates the run. `taken` are the inbox items this group consumed. `after` belongs to the
    caller: the store never looks at it.
    """

    run: int
    records: list[LogRow]
    created: RunRow | None = None
    change: Change | None = None
    taken: tuple[int, ...] = ()
    waits: Sequence[WaitRow] = ()
    """Waits for events that begin with this group."""
    unwaits: Sequence[str] = ()
    """Keys of waits for events that end with it."""
    also: Sequence["Operation"] = ()
    """What the group does to other runs: carried out with it, or not at all."""
    heir: int | None = None
    """The run that what is left in the inbox goes to."""
    after: Any = None


class Create(Struct):
    """A run that another one starts, unless there is one of that id (`Existing`): a repeat is harmless.

    `known` is then put into the inbox of the one that starts it, so that it finds out whose run that is.
    """

    row: RunRow
    record: LogRow
    known: InboxRow | None = None
    after: Any = None


class Arrival(NamedTuple):
    """An event, the runs it starts, and the waits it is for: `item` is put into the inbox of each run with such one."""

    event: EventRow
    runs: Sequence[tuple[RunRow, LogRow]] = ()
    topics: Sequence[str] = ()
    item: bytes = b""


class Ingest(Struct):
    """Events, the runs each of them starts and those it wakes: all of it or nothing.

    An event whose id is known (within `window_us`) with the same digest starts nothing; with another digest the whole
    operation is a `Conflict`. `unique` says that the id was made here, so that nobody needs to look.
    """

    events: list[Arrival]
    unique: bool = False
    window_us: int = 24 * 3600 * 1_000_000
    after: Any = None


class Put(Struct):
    """An inbox row for a run. The answer is `Missing` when the run does not exist or has ended.

    `to` is the run's public id, when only that is known. What is for a run that goes on as another goes there.
    """

    row: InboxRow
    to: str | None = None
    after: Any = None


Operation = Append | Create | Ingest | Put


class Refused(NamedTuple):
    """This operation was not committed and cannot be: a sequence number or an id is taken, or a value was refused.

    Later operations on the same run in the same batch are refused with it: a run's groups form a chain.
    """

    reason: str


class Written(NamedTuple):
    """Committed, and there is something to tell."""

    known: tuple[int, ...] = ()
    """Which events of an `Ingest` (by index) were known already; the others were stored."""
    woken: tuple[int, ...] = ()
    """Runs that have got something into their inbox."""
    also: tuple["Result", ...] = ()
    """What became of the operations that went with an `Append`."""


class Existing(NamedTuple):
    """A run of that id exists already: the number it has."""

    run: int


class Conflict(NamedTuple):
    """The event at this place has the id of an earlier one with another body. Nothing was stored."""

    place: int


class Missing(NamedTuple):
    """There is no open run of that number."""


Result = Refused | Written | Existing | Conflict | Missing | None
"""What became of one operation; None means committed as asked."""


class RunQuery(Struct, frozen=True, kw_only=True):
    """Which runs to list, newest first. `before` is the `run` of the last one seen (cursor paging)."""

    status: tuple[str, ...] = ()
    phase: tuple[str, ...] = ()
    workflow: tuple[str, ...] = ()
    trigger: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    event: tuple[str, ...] = ()
    origin: str | UnsetType = UNSET
    created_from_us: int | None = None
    created_until_us: int | None = None
    before: int | None = None
    limit: int = 50
