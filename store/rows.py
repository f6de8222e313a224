"""The rows an engine hands to a store and reads back.

A store knows bytes, numbers and names; what a record means is the engine's business. Times are integer microseconds
since the Unix epoch. A run has two ids: `id`, the public one, and `run`, a small integer given out by the store, which
is what the log and the inbox refer to (a random text as the log's key would cost four times the bytes and CPU).
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from msgspec import UNSET, Struct, UnsetType

__all__ = [
    "SHARED_KINDS",
    "Append",
    "Arrival",
    "Change",
    "Conflict",
    "Create",
    "DeliveryRow",
    "DocumentRow",
    "EventRow",
    "Existing",
    "Forget",
    "Forgotten",
    "InboxRow",
    "Ingest",
    "LogRow",
    "Missing",
    "Notify",
    "Operation",
    "Put",
    "Refused",
    "Reschedule",
    "Result",
    "RunOrder",
    "RunQuery",
    "RunRow",
    "Save",
    "Together",
    "TriggerRow",
    "UsageRow",
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
    job: str | None = None
    """The job whose run this is."""
    scheduled_us: int | None = None
    """The time a schedule, or the wait before a retry, gave it."""


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
    environment: str = "production"
    """Events start and wake only what belongs to their own environment; so do their ids count."""


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
    environment: str = "production"


SHARED_KINDS = frozenset({"key", "environment"})
"""Kinds of documents that other processes may write beside the engine that has the store (DESIGN section 6)."""


class DocumentRow(Struct, frozen=True, kw_only=True):
    """What people name, write and change: a retry policy, a job, an environment, a key. `body` is a JSON object.

    Of one kind and id there is at most one that is not deleted. Deleted ones stay, and never change again.
    """

    kind: str
    id: str
    body: bytes
    version: int = 1
    created_us: int
    updated_us: int
    deleted_us: int | None = None


class DeliveryRow(Struct, frozen=True, kw_only=True):
    """A message to somebody outside about a run: recorded with what it tells of, delivered afterwards."""

    message: str
    """Its id, the same at every attempt."""
    run_id: str
    destination: str
    created_us: int
    status: str = "PENDING"
    attempts: int = 0
    due_us: int | None = None
    """When the next attempt is due; None when there is none."""
    error: str | None = None
    """What the last attempt failed with."""
    body: bytes


class UsageRow(NamedTuple):
    """What was used on one day, counted from 1970 in UTC."""

    day: int
    environment: str
    workflow: str
    runs: int
    """Runs that began."""
    tasks: int


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
    used: UsageRow | None = None
    """What is added to that day's usage."""
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


class Save(Struct):
    """A document as it is from now on, or deleted from now on.

    `row.version` 1 makes a new one; a later version takes the place of the one before. `Refused` when there is one
    already, or when that is not the version before.
    """

    row: DocumentRow
    after: Any = None


class Reschedule(Struct):
    """When a schedule is due next; None when there is no such schedule any more."""

    schedule: str
    due_us: int | None
    after: Any = None


class Notify(Struct):
    """A delivery as it is from now on. It takes the place of one with fewer `attempts`, and of no other."""

    row: DeliveryRow
    after: Any = None


class Forget(Struct):
    """Delete what is older than `before_us`, a little at a time; the answer is `Forgotten`.

    At most `limit` runs that ended before it, with their logs, inbox and deliveries, and at most `limit` events
    received before it, unless a run that is open was there when the event came: it may look back to it. Fewer runs
    when their logs are long; none of either when nothing is left to delete.
    """

    before_us: int
    limit: int
    after: Any = None


class Together(Struct):
    """Several operations, all of them or none: `Refused` when one of them is."""

    operations: Sequence["Operation"]
    after: Any = None


Operation = Append | Create | Ingest | Put | Save | Reschedule | Notify | Forget | Together


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
    """What became of the operations that went with an `Append`, or `Together`."""


class Existing(NamedTuple):
    """A run of that id exists already: the number it has."""

    run: int


class Conflict(NamedTuple):
    """The event at this place has the id of an earlier one with another body. Nothing was stored."""

    place: int


class Missing(NamedTuple):
    """There is no open run of that number."""


class Forgotten(NamedTuple):
    """How much was deleted."""

    runs: int
    events: int


Result = Refused | Written | Existing | Conflict | Missing | Forgotten | None
"""What became of one operation; None means committed as asked."""


RunOrder = Literal["created", "started", "finished", "scheduled", "duration", "status", "job"]


class RunQuery(Struct, frozen=True, kw_only=True):
    """Which runs to list, in which order. Filters of several values take any of them; none of them takes all."""

    status: tuple[str, ...] = ()
    phase: tuple[str, ...] = ()
    workflow: tuple[str, ...] = ()
    trigger: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    event: tuple[str, ...] = ()
    job: tuple[str, ...] | None = None
    """None: runs of workflows; otherwise runs of jobs, `()` those of any job."""
    origin: str | UnsetType | None = UNSET
    """None: those that have none."""
    created_from_us: int | None = None
    created_until_us: int | None = None
    started_from_us: int | None = None
    started_until_us: int | None = None
    finished_from_us: int | None = None
    finished_until_us: int | None = None
    scheduled_from_us: int | None = None
    scheduled_until_us: int | None = None
    latest_only: bool = False
    """Of each job in each environment only the run that ended last (by creation), the other filters applied first."""
    order: RunOrder = "created"
    descending: bool = True
    """Runs without a value come last either way; equal ones in the order of their creation, the same way round."""
    before: tuple[int | str | None, int] | None = None
    """Begin behind this run: its value in `order`, and its number (cursor paging)."""
    limit: int = 50
