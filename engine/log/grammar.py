"""The grammar of a run's log: how a flat sequence of records falls into incarnations and groups (DESIGN section 3).

    log          = run.created, incarnation*, ended-without-body?
    incarnation  = group+          the first group's input is run.started or body.started
    group        = input, command*

Notes may stand between groups and between a group's commands and the next input. An `attempt.started` is a command for
a step that its incarnation has not seen before, and a note for every further attempt.
"""

from collections.abc import Iterable, Sequence
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
    Command,
    Input,
    Record,
    RunCreated,
    RunStarted,
    StepFailed,
    StepScheduled,
    StepSucceeded,
    TimerFired,
    type_name,
)

__all__ = ["BadHistory", "Carried", "Carry", "Entry", "Group", "Incarnation", "Log", "carry_over", "parse"]


class BadHistory(DurablyError):
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
    input: StepSucceeded | StepFailed | TimerFired


class Carry(Struct, frozen=True):
    """What an incarnation takes over from those before it."""

    outcomes: dict[str, Carried] = {}
    starts: dict[tuple[str, int], int] = {}
    """How often each (step, attempt) was started, so that `start` goes on counting and no task is counted twice."""
    failed: BodyFailed | None = None
    """How the incarnation before ended."""


class Incarnation(Struct):
    """One execution of the body, as far as it got."""

    groups: list[Group]
    carry: Carry

    @property
    def ended(self) -> bool:
        """Whether its body has returned or raised."""
        commands = self.groups[-1].commands
        return bool(commands) and type(commands[-1]) in ENDS


class Log(Struct):
    """A parsed log."""

    created: RunCreated
    incarnations: list[Incarnation]


def parse(entries: Sequence[Entry]) -> Log:
    """Read a log. Raises `BadHistory` with the place where it stops making sense."""
    if not entries or not isinstance(entries[0].record, RunCreated):
        raise BadHistory("a history begins with run.created; this one does not, so its beginning is missing")
    log = Log(entries[0].record, [])
    seen: set[str] = set()
    group: Group | None = None
    for index, (seq, at_us, record) in enumerate(entries[1:], 2):
        if seq != index:
            raise BadHistory(f"record {index} is missing: the history goes on with seq {seq}")
        kind = type(record)
        if kind in NOTES:
            continue
        if kind in INPUTS:
            group = Group(seq, at_us, record, [])  # type: ignore[arg-type]  # INPUTS holds just these types
            if isinstance(record, RunStarted | BodyStarted):
                seen = set()
                log.incarnations.append(Incarnation([group], carry_over(log.incarnations, entries[: index - 1])))
            elif log.incarnations and not log.incarnations[-1].ended:
                log.incarnations[-1].groups.append(group)
            elif not isinstance(record, CancelRequested):
                raise BadHistory(f"record {seq}, {type_name(record)}, came while no body was running")
            continue
        if group is None:
            raise BadHistory(f"record {seq}, {type_name(record)}, is a command without an input before it")
        if isinstance(record, AttemptStarted | StepScheduled):
            if record.step in seen:
                continue
            seen.add(record.step)
        group.commands.append(record)  # type: ignore[arg-type]  # what is neither note nor input is a command
    return log


def carry_over(earlier: Sequence[Incarnation], entries: Iterable[Entry]) -> Carry:
    """What the next incarnation takes over from those before it; `entries` is the log up to there."""
    if not earlier:
        return Carry()
    outcomes: dict[str, Carried] = dict(earlier[-1].carry.outcomes)
    for group in earlier[-1].groups:
        match group.input:
            case StepSucceeded() | StepFailed():
                outcomes[group.input.step] = Carried(group.seq, group.at_us, group.input)
            case TimerFired():
                outcomes[group.input.timer] = Carried(group.seq, group.at_us, group.input)
            case _:
                pass
    starts: dict[tuple[str, int], int] = {}
    for entry in entries:
        if isinstance(entry.record, AttemptStarted):
            key = (entry.record.step, entry.record.attempt)
            starts[key] = max(starts.get(key, 0), entry.record.start + 1)
    end = earlier[-1].groups[-1].commands[-1:]
    failed = end[0] if end and isinstance(end[0], BodyFailed) else None
    return Carry(outcomes, starts, failed)
