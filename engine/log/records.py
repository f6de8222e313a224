"""The records of a run's log: what each type is called and carries (DESIGN section 3, CONTRACT section 6).

A record is a JSON object tagged by `type`. Its place in the log (`seq`) and its time (`at`) are columns beside it, not
part of it. Payloads (`input`, `output`) are kept as the bytes they were encoded to, so that a workflow sees the same
value live and on replay (DESIGN rule 14).

Three kinds: an *input* drives one activation of the workflow, a *command* is what the code then did, a *note* is never
fed to anything. An input and the commands behind it are a group: adjacent, and in one commit.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import msgspec
from msgspec import Raw, Struct

from durably.engine.errors import DurablyError
from durably.engine.retries.failures import ErrorInfo
from durably.store.sealed import is_sealed, why_sealed

__all__ = [
    "ENDS",
    "INPUTS",
    "NOTES",
    "NOTHING",
    "AttemptFailed",
    "AttemptLost",
    "AttemptStarted",
    "BodyFailed",
    "BodyStarted",
    "CancelRequested",
    "ChildCancelRequested",
    "ChildCanceled",
    "ChildFailed",
    "ChildStarted",
    "ChildSucceeded",
    "Command",
    "Continued",
    "Copied",
    "End",
    "EventAwaited",
    "EventReceived",
    "EventSent",
    "Input",
    "JobRun",
    "OutcomeGiven",
    "PatchMarked",
    "Published",
    "Record",
    "Resumed",
    "RunBlocked",
    "RunCanceled",
    "RunContinued",
    "RunCreated",
    "RunFailed",
    "RunStarted",
    "RunSucceeded",
    "RunUnblocked",
    "Sealed",
    "SignalAwaited",
    "SignalReceived",
    "SignalSent",
    "StepCanceled",
    "StepFailed",
    "StepScheduled",
    "StepSucceeded",
    "TimerCanceled",
    "TimerFired",
    "TimerSet",
    "WaitCanceled",
    "decode_end",
    "decode_record",
    "encode_record",
    "from_us",
    "refuse_sealed",
    "to_us",
    "type_name",
]

NOTHING = Raw(b"null")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_us(us: int) -> datetime:
    """Engine time as a datetime, exact to the microsecond."""
    return EPOCH + timedelta(microseconds=us)


def to_us(at: datetime) -> int:
    """The reverse of `from_us`."""
    return (at - EPOCH) // timedelta(microseconds=1)


class _Base(Struct, tag_field="type", omit_defaults=True, kw_only=True, gc=False):
    """What all records share. Nobody changes one that was made. A field at its default is left out of the log."""


# -- a run's beginning


class Copied(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a fork has of the run that is its `origin`, and what it has otherwise."""

    upto: int
    """Up to which record its log is taken over. Times are kept, and the steps are not counted again."""
    made_at: datetime
    """When the fork was made."""
    args: dict[str, tuple[Raw, ...]] = {}
    """By step: objects by parameter name, each of which replaces some of the arguments that the code gives."""


class Continued(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run knows of those it goes on from, so that no event falls between them."""

    since: datetime
    """When the first of them was created: as far back go waits for events."""
    had: dict[str, datetime] = {}
    """Ids of the events that they have had since, and when."""


class Resumed(Struct, frozen=True, kw_only=True):
    """Where a rerun from a step begins: as what it takes over did, so that its code finds the same time and chance."""

    step: str
    started_at: datetime
    seed: int


class JobRun(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job's run is, beside a run: which job's, and what it repeats."""

    job: str
    version: int
    """The job's, when the run was created."""
    rerun_of: str | None = None
    retry_of: str | None = None
    """The first run of the chain of retries that this one goes on."""
    attempt: int = 0
    """The how-many-th retry it is; 0: it is none."""


class RunCreated(_Base, tag="run.created"):
    """A note, and always the first record: written in the commit of the event or request that caused the run."""

    workflow: str
    version: int
    input: Raw
    """Arguments as a JSON object by parameter name; null when `event` is the input."""
    trigger: str
    event: Raw
    environment: str
    test: bool
    origin: str | None = None
    """The run this one is a rerun, fork, child or continuation of."""
    parent: str | None = None
    """The run that waits for this one's outcome, and `child`, the key under which it does."""
    child: str = ""
    due_at: datetime | None = None
    """When the body starts; None: at once."""
    timeout: float | None = None
    """Seconds from the body's start after which the run is canceled and fails as `TimedOut`."""
    continued: Continued | None = None
    """Of a continuation."""
    copied: Copied | None = None
    """Of a fork."""
    resumed: Resumed | None = None
    """Of a rerun from a step."""
    ids: dict[str, str] = {}
    """By key: ids of children and events that were made by the run which this one takes over from."""
    scheduled_for: datetime | None = None
    """The time that a schedule gave it, or the wait before a job's retry; it may begin later."""
    job: JobRun | None = None
    """Of a job's run."""


class RunStarted(_Base, tag="run.started"):
    """The owner's first activation. Code and versions serve the messages of a mismatch, the seed `durably.random`."""

    code: str
    python: str
    anyio: str
    engine: str
    seed: int


class BodyStarted(_Base, tag="body.started"):
    """The next incarnation of the body, after a `BodyFailed`. Outcomes of earlier ones are carried over."""

    attempt: int


# -- steps


class StepScheduled(_Base, tag="step.scheduled"):
    """A step that was called and cannot start at once: a limit, or an interrupted attempt that still unwinds."""

    step: str
    name: str
    input: Raw = NOTHING
    digest: str = ""
    line: str = ""


class AttemptStarted(_Base, tag="attempt.started"):
    """An attempt's body runs once this is durable. The first one of a step in an incarnation is a command.

    `start` counts the starts of one attempt: an attempt that was lost is started again under the same number.
    """

    step: str
    name: str
    attempt: int
    start: int
    input: Raw = NOTHING
    digest: str = ""
    line: str = ""


class AttemptFailed(_Base, tag="attempt.failed"):
    """A note: `retry_at` is when the next attempt is due, None when this was the last."""

    step: str
    name: str
    attempt: int
    error: ErrorInfo
    retry_at: datetime | None
    max_retries: int


class AttemptLost(_Base, tag="attempt.lost"):
    """A note: the attempt died with its process. Only `crash` counts against the step (DESIGN rule 12)."""

    step: str
    name: str
    attempt: int
    start: int
    reason: Literal["crash", "drain", "fenced"]


class StepSucceeded(_Base, tag="step.succeeded"):
    """An input: the step's one result."""

    step: str
    name: str
    attempt: int
    output: Raw


class StepFailed(_Base, tag="step.failed"):
    """An input: the step is out of attempts, or was not to be retried."""

    step: str
    name: str
    attempt: int
    error: ErrorInfo
    lost: bool = False
    """True when it failed because its process kept dying (`WorkerLost`)."""


class StepCanceled(_Base, tag="step.canceled"):
    """A command: the workflow no longer wants the step. What it still does is dropped."""

    step: str
    name: str


# -- timers


class TimerSet(_Base, tag="timer.set"):
    """A command: `delay` in seconds, `due_at` in engine time."""

    timer: str
    delay: float
    due_at: datetime


class TimerFired(_Base, tag="timer.fired"):
    """An input: the timer is due."""

    timer: str


class TimerCanceled(_Base, tag="timer.canceled"):
    """A command: the workflow no longer waits for it."""

    timer: str


# -- events and signals


class EventAwaited(_Base, tag="event.awaited"):
    """A command: wait for an event of that name which has the values of `match` and for which `where` holds."""

    wait: str
    event: str
    match: Raw = NOTHING
    """Dotted path to value."""
    where: str | None = None
    vars: Raw = NOTHING
    timeout: float | None = None
    until: datetime | None = None
    """When the wait ends without an event: as a `timer.fired` under its key."""
    since: datetime | None = None
    """How far back an event counts that has arrived before the wait; None: not at all."""


class EventReceived(_Base, tag="event.received"):
    """An input: one event wakes all the waits of the run that it matches (DESIGN section 3)."""

    waits: tuple[str, ...]
    event: Raw


class SignalAwaited(_Base, tag="signal.awaited"):
    """A command: wait for a signal to this run."""

    wait: str
    signal: str
    timeout: float | None = None
    until: datetime | None = None


class SignalReceived(_Base, tag="signal.received"):
    """An input: a signal wakes one wait, the first that asked for it."""

    wait: str
    signal: str
    data: Raw
    sent_at: datetime


class WaitCanceled(_Base, tag="wait.canceled"):
    """A command: the workflow no longer waits for that event or signal."""

    wait: str


# -- what reaches out of the run


class EventSent(_Base, tag="event.sent"):
    """A command: the events are stored, and the runs they start created, in this record's commit."""

    send: str
    events: Raw
    """With ids that derive from the run and the key; `ts` is the record's time where none is given."""
    digest: str = ""


class SignalSent(_Base, tag="signal.sent"):
    """A command: the signal is in the inbox of the other run, if that is open, with this record's commit."""

    send: str
    run: str
    signal: str
    data: Raw
    digest: str = ""


class ChildStarted(_Base, tag="child.started"):
    """A command: the child run `run` is created in this record's commit; its id derives from this run and the key."""

    child: str
    run: str
    workflow: str
    version: int
    input: Raw
    digest: str = ""
    line: str = ""
    timeout: float | None = None
    delay: float = 0


class ChildSucceeded(_Base, tag="child.succeeded"):
    """An input: the child's result."""

    child: str
    output: Raw


class ChildFailed(_Base, tag="child.failed"):
    """An input: the child has failed."""

    child: str
    error: ErrorInfo


class ChildCanceled(_Base, tag="child.canceled"):
    """An input: the child was canceled."""

    child: str


class ChildCancelRequested(_Base, tag="child.cancel_requested"):
    """A command: the workflow no longer waits for the child, or is canceled itself, and so the child is canceled."""

    child: str


class Published(_Base, tag="message.published"):
    """A note: something for those who follow the run. `message` is its key: no later incarnation says it again."""

    message: str
    topic: str
    data: Raw


# -- changed code


class PatchMarked(_Base, tag="patch.marked"):
    """A command: the body went the way of `patched(id)`, so every replay does."""

    patch: str


# -- the end, and what comes between


class CancelRequested(_Base, tag="cancel.requested"):
    """An input: arrives in the body as `asyncio.CancelledError`."""

    reason: Literal["requested", "timeout"]


class BodyFailed(_Base, tag="body.failed"):
    """A command that ends an incarnation: the body raised and is run again from the log at `retry_at`."""

    attempt: int
    error: ErrorInfo
    retry_at: datetime
    max_retries: int


class RunSucceeded(_Base, tag="run.succeeded"):
    """A command: the body returned."""

    output: Raw


class RunFailed(_Base, tag="run.failed"):
    """A command: the body raised and is not run again."""

    error: ErrorInfo


class RunCanceled(_Base, tag="run.canceled"):
    """A command: the body ended by the cancel that was asked for."""

    stopped: bool = False
    """True when the engine ended it, because it went on for too long after a second request."""


class RunContinued(_Base, tag="run.continued"):
    """A command: the run has succeeded, and goes on as the run `continued_to` with an empty history."""

    continued_to: str
    version: int
    input: Raw


class RunBlocked(_Base, tag="run.blocked"):
    """A note: the code `code` does not fit this history. Written once per code; nothing runs until code fits."""

    code: str
    error: ErrorInfo


class RunUnblocked(_Base, tag="run.unblocked"):
    """A note: the code `code` fits again."""

    code: str


Input = (
    RunStarted
    | BodyStarted
    | StepSucceeded
    | StepFailed
    | TimerFired
    | EventReceived
    | SignalReceived
    | ChildSucceeded
    | ChildFailed
    | ChildCanceled
    | CancelRequested
)
End = BodyFailed | RunSucceeded | RunFailed | RunCanceled | RunContinued
Command = (
    StepScheduled
    | AttemptStarted
    | StepCanceled
    | TimerSet
    | TimerCanceled
    | EventAwaited
    | SignalAwaited
    | WaitCanceled
    | EventSent
    | SignalSent
    | ChildStarted
    | ChildCancelRequested
    | PatchMarked
    | End
)


class OutcomeGiven(_Base, tag="outcome.given"):
    """A note before a body's start: something of which the outcome is known, so that it need not be done again.

    A rerun from a step takes such records over from its `origin`, a fork is given them by its `patch`. The body finds
    them as it finds what an earlier incarnation has done.
    """

    record: Input | Command | Published
    happened_at: datetime
    began: int = 0
    happened: int = 0
    """Places in the order of all that is given. Only how they compare counts."""


Note = RunCreated | OutcomeGiven | AttemptFailed | AttemptLost | Published | RunBlocked | RunUnblocked
Record = Input | Command | Note

INPUTS: frozenset[type[Any]] = frozenset(get_args(Input))
NOTES: frozenset[type[Any]] = frozenset(get_args(Note))
ENDS: frozenset[type[Any]] = frozenset(get_args(End))

encode_record = msgspec.json.Encoder().encode
_decode_record: Callable[[bytes], Record] = msgspec.json.Decoder(Record).decode
_decode_end: Callable[[bytes], End] = msgspec.json.Decoder(End).decode


class Sealed(DurablyError):  # noqa: N818 - named as the errors of the contract are
    """A stored body that cannot be read: its codec, or a key of that, was not given."""


def refuse_sealed(body: bytes) -> None:
    """Raise `Sealed` for a body that is sealed still: decoded as it is, it could pass for one with nothing in it."""
    if is_sealed(body):
        raise Sealed(why_sealed(body))


def decode_record(body: bytes) -> Record:
    """A record of the log. Raises `Sealed`."""
    refuse_sealed(body)
    return _decode_record(body)


def decode_end(body: bytes) -> End:
    """The record that ended a run. Raises `Sealed`."""
    refuse_sealed(body)
    return _decode_end(body)


def type_name(record: Record) -> str:
    """The record's `type`, as it stands in the log."""
    tag = record.__struct_config__.tag
    assert isinstance(tag, str)
    return tag
