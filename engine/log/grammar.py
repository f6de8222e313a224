"""The grammar of a run's log: how a flat sequence of records falls into incarnations and groups (DESIGN section 3).

    log          = run.created, incarnation*, ended-without-body?
    incarnation  = group+          the first group's input is run.started or body.started
    group        = input, command*

Notes may stand between groups and between a group's commands and the next input. An `attempt.started` is a command for
a step that its incarnation has not seen before, and a note for every further attempt.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from msgspec import Struct

from durably.engine.errors import DurablyError
from durably.engine.log.records import (
    ENDS,
    INPUTS,
    NOTES,
    AttemptStarted,
    BodyFailed,
    BodyStarted,
    CancelRequested,
    ChildCanceled,
    ChildCancelRequested,
    ChildFailed,
    ChildStarted,
    ChildSucceeded,
    Command,
    EventAwaited,
    EventReceived,
    EventSent,
    Input,
    OutcomeGiven,
    PatchMarked,
    Published,
    Record,
    RunCreated,
    RunStarted,
    SignalAwaited,
    SignalReceived,
    SignalSent,
    StepFailed,
    StepScheduled,
    StepSucceeded,
    TimerFired,
    TimerSet,
    to_us,
    type_name,
)

__all__ = [
    "BadHistory",
    "Carried",
    "Carry",
    "Entry",
    "Group",
    "Incarnation",
    "Log",
    "carry_over",
    "outcome_keys",
    "parse",
]


class BadHistory(DurablyError):  # noqa: N818 - named as the errors of the contract are
    """The records do not form a run's log: something was cut out, reordered, or written by something else."""


class Entry(NamedTuple):
    """A record in its place."""

    seq: int
    at_us: int
    record: Record


class Group(Struct):
    """One input and what the code then did."""

    seq: int
    at_us: int
    input: Input
    commands: list[Command]


class Carried(NamedTuple):
    """An outcome of an earlier incarnation that a later one may claim."""

    seq: int
    at_us: int
    input: Input


class Carry(Struct, frozen=True):
    """What an incarnation takes over from those before it."""

    outcomes: dict[str, Carried] = {}
    starts: dict[tuple[str, int], int] = {}
    """How often each (step, attempt) was started, so that `start` goes on counting and no task is counted twice."""
    failed: BodyFailed | None = None
    """How the incarnation before ended."""
    deadlines: dict[str, TimerSet | EventAwaited | SignalAwaited] = {}
    """Timers and waits that were set before. One that had not ended keeps its due time when the body sets it again."""
    said: frozenset[str] = frozenset()
    """Keys of what was sent and published before: it is not said again."""
    patches: frozenset[str] = frozenset()
    """Patches that were marked before."""
    children: tuple[str, ...] = ()
    """Keys of children that go on: a cancel reaches them, asked for again or not."""


class Incarnation(Struct):
    """One execution of the body, as far as it got."""

    groups: list[Group]
    carry: Carry

    @property
    def ended(self) -> bool:
        """Whether its body has returned or raised."""
        return type(self._last) in ENDS

    @property
    def is_retried(self) -> bool:
        """Whether its body has raised and is to be executed again."""
        return isinstance(self._last, BodyFailed)

    @property
    def _last(self) -> Command | None:
        commands = self.groups[-1].commands
        return commands[-1] if commands else None


class Log(Struct):
    """A parsed log."""

    created: RunCreated
    created_us: int
    incarnations: list[Incarnation]
    given: list[Entry]
    """What was given so far: the next incarnation takes it over beside what those before it leave."""


def parse(entries: Sequence[Entry]) -> Log:
    """Read a log. Raises `BadHistory` with the place where it stops making sense."""
    if not entries or not isinstance(entries[0].record, RunCreated):
        raise BadHistory("a history begins with run.created; this one does not, so its beginning is missing")
    if entries[0].seq != 1:
        raise BadHistory(f"record 1 is missing: the history begins with seq {entries[0].seq}")
    reader = _Reader(entries[0].record, entries)
    for index, entry in enumerate(entries[1:], 2):
        if entry.seq != index:
            raise BadHistory(f"record {index} is missing: the history goes on with seq {entry.seq}")
        reader.read(entry)
    return reader.log


class _Reader:
    """Reads one record after the other into incarnations and groups."""

    __slots__ = ("_entries", "_group", "_seen", "log")

    def __init__(self, created: RunCreated, entries: Sequence[Entry]) -> None:
        self.log = Log(created, entries[0].at_us, [], [])
        self._entries = entries
        self._group: Group | None = None
        self._seen: set[str] = set()

    def read(self, entry: Entry) -> None:
        kind = type(entry.record)
        if kind is RunCreated:
            raise _nonsense(entry, "is in the middle of the history")
        if kind is OutcomeGiven:
            self.log.given.append(entry)
        if kind in NOTES:
            return
        if kind in INPUTS:
            self._input(entry)
        else:
            self._command(entry)

    def _input(self, entry: Entry) -> None:
        incarnations, record = self.log.incarnations, entry.record
        running = bool(incarnations) and not incarnations[-1].ended
        self._group = group = Group(entry.seq, entry.at_us, record, [])  # type: ignore[arg-type]  # read() looked
        if isinstance(record, RunStarted | BodyStarted):
            self._check_beginning(entry, running=running)
            self._seen = set()
            carry = carry_over(incarnations, self._entries[: entry.seq - 1], self.log.given)
            incarnations.append(Incarnation([group], carry))
        elif running:
            incarnations[-1].groups.append(group)
        elif not isinstance(record, CancelRequested):
            raise _nonsense(entry, "came while no body was running")

    def _check_beginning(self, entry: Entry, *, running: bool) -> None:
        incarnations, again = self.log.incarnations, isinstance(entry.record, BodyStarted)
        if running:
            raise _nonsense(entry, "came while a body was running")
        if not incarnations:
            if again:
                raise _nonsense(entry, "came before run.started")
        elif not (again and incarnations[-1].is_retried):
            raise _nonsense(entry, "came after the run's end")

    def _command(self, entry: Entry) -> None:
        record, group = entry.record, self._group
        if group is None:
            raise _nonsense(entry, "is a command without an input before it")
        if group.commands and type(group.commands[-1]) in ENDS:
            raise _nonsense(entry, "came after the body's end")
        if isinstance(record, AttemptStarted | StepScheduled):
            if record.step in self._seen:
                return  # a further attempt: a note
            self._seen.add(record.step)
        group.commands.append(record)  # type: ignore[arg-type]  # what is neither note nor input is a command


def _nonsense(entry: Entry, why: str) -> BadHistory:
    return BadHistory(f"record {entry.seq}, {type_name(entry.record)}, {why}")


def carry_over(earlier: Sequence[Incarnation], entries: Sequence[Entry], given: Iterable[Entry] = ()) -> Carry:
    """What the next incarnation takes over from those before it, and what it is given besides.

    `entries` is the log up to there.
    """
    if not earlier and not given:
        return Carry()
    before = earlier[-1].carry if earlier else Carry()
    outcomes, deadlines = dict(before.outcomes), dict(before.deadlines)
    said, patches = set(before.said), set(before.patches)
    for seq, at_us, record in chain(_done_in(earlier[-1:]), _opened(given)):
        match record:
            case TimerSet():
                deadlines[record.timer] = record
            case EventAwaited() | SignalAwaited():
                deadlines[record.wait] = record
            case EventSent() | SignalSent():
                said.add(record.send)
            case Published():
                said.add(record.message)
            case PatchMarked():
                patches.add(record.patch)
            case _ if isinstance(record, Input):
                outcomes.update((key, Carried(seq, at_us, record)) for key in outcome_keys(record))
            case _:
                pass
    starts: dict[tuple[str, int], int] = {}
    for _, _, record in entries:
        if isinstance(record, AttemptStarted):
            key = (record.step, record.attempt)
            starts[key] = max(starts.get(key, 0), record.start + 1)
        elif isinstance(record, Published):
            said.add(record.message)
    end = earlier[-1].groups[-1].commands[-1:] if earlier else ()
    failed = end[0] if end and isinstance(end[0], BodyFailed) else None
    return Carry(outcomes, starts, failed, deadlines, frozenset(said), frozenset(patches), _open_children(entries))


def _open_children(entries: Iterable[Entry]) -> tuple[str, ...]:
    children: dict[str, None] = {}
    for _, _, record in entries:
        match record:
            case ChildStarted():
                children[record.child] = None
            case ChildSucceeded() | ChildFailed() | ChildCanceled() | ChildCancelRequested():
                children.pop(record.child, None)
            case _:
                pass
    return tuple(children)


def _done_in(incarnations: Iterable[Incarnation]) -> Iterator[Entry]:
    for incarnation in incarnations:
        for group in incarnation.groups:
            yield Entry(group.seq, group.at_us, group.input)
            for command in group.commands:
                yield Entry(group.seq, group.at_us, command)


def _opened(given: Iterable[Entry]) -> Iterator[Entry]:
    for seq, _, record in given:
        assert isinstance(record, OutcomeGiven)
        yield Entry(seq, to_us(record.happened_at), record.record)


def outcome_keys(record: Input) -> tuple[str, ...]:
    """The keys of the commands whose outcome an input is."""
    match record:
        case StepSucceeded() | StepFailed():
            return (record.step,)
        case TimerFired():
            return (record.timer,)
        case EventReceived():
            return record.waits
        case SignalReceived():
            return (record.wait,)
        case ChildSucceeded() | ChildFailed() | ChildCanceled():
            return (record.child,)
        case _:
            return ()
