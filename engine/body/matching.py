"""Whether what the code did is what the history holds: a pure decision (DESIGN rules 7 and 13).

Commands are compared by their identity, and where that is the same by what they ask for: a step's arguments, a timer's
delay, what a wait waits for. Their order within one group is not compared: identities say which is which.
"""

from asyncio import CancelledError
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from durably.engine.body.calls import ContinueAsNew
from durably.engine.body.instance import Instance
from durably.engine.errors import TimedOut, qualified_name
from durably.engine.log.limits import HistoryTooLong
from durably.engine.log.records import (
    ENDS,
    AttemptStarted,
    BodyFailed,
    ChildCancelRequested,
    ChildStarted,
    Command,
    EventAwaited,
    EventSent,
    PatchMarked,
    RunCanceled,
    RunContinued,
    RunFailed,
    RunSucceeded,
    SignalAwaited,
    SignalSent,
    StepCanceled,
    StepScheduled,
    TimerCanceled,
    TimerSet,
    WaitCanceled,
)
from durably.engine.loop.budget import OutOfTime

__all__ = [
    "Identity",
    "Kind",
    "Mismatch",
    "Outcome",
    "compact",
    "identity",
    "is_same_command",
    "is_same_request",
    "match",
    "outcome_of",
]

Kind: TypeAlias = Literal[
    "missing",
    "extra",
    "reordered",
    "renamed",
    "moved",
    "changed arguments",
    "changed delay",
    "changed wait",
    "new patch",
    "ended early",
    "ended late",
    "ended otherwise",
    "damaged value",
    "unknown workflow",
]
"""How code and history can differ. Each is a section of docs/nondeterminism.md."""


Outcome: TypeAlias = bytes | BaseException
"""What a body came to: its result, encoded, or what it raised."""


class Mismatch(NamedTuple):
    """How code and history differ, and the commands that show it."""

    kind: Kind
    expected: Command | None
    got: Command | None
    outcome: Outcome | None = None
    """What the body came to, where that is the difference."""


class _Aspect(NamedTuple):
    """What of a type of command is compared."""

    what: str
    """Types that stand for one another have the same word: a step may start at once, or be scheduled."""
    key: Callable[[Any], str]
    details: Callable[[Any], object] | None = None
    change: Kind = "changed arguments"
    """What it is called when the details differ."""


def _awaited_event(record: EventAwaited) -> object:
    match, given = compact(bytes(record.match)), compact(bytes(record.vars))
    return record.event, match, record.where, given, record.timeout


_STEP = _Aspect("step", attrgetter("step"), attrgetter("digest"))
_ASPECTS: dict[type[Any], _Aspect] = {
    AttemptStarted: _STEP,
    StepScheduled: _STEP,
    StepCanceled: _Aspect("cancel of step", attrgetter("step")),
    TimerSet: _Aspect("timer", attrgetter("timer"), attrgetter("delay"), "changed delay"),
    TimerCanceled: _Aspect("cancel of timer", attrgetter("timer")),
    EventAwaited: _Aspect("wait", attrgetter("wait"), _awaited_event, "changed wait"),
    SignalAwaited: _Aspect("wait", attrgetter("wait"), attrgetter("signal", "timeout"), "changed wait"),
    WaitCanceled: _Aspect("cancel of wait", attrgetter("wait")),
    EventSent: _Aspect("send", attrgetter("send"), attrgetter("digest")),
    SignalSent: _Aspect("tell", attrgetter("send"), attrgetter("run", "signal", "digest")),
    ChildStarted: _Aspect("child", attrgetter("child"), attrgetter("workflow", "digest")),
    ChildCancelRequested: _Aspect("cancel of child", attrgetter("child")),
    PatchMarked: _Aspect("patch", attrgetter("patch")),
}

Identity: TypeAlias = tuple[str, str]
"""What a command is about, and its key."""


def identity(command: Command) -> Identity:
    """What tells a command from all others of its incarnation."""
    aspect = _ASPECTS[type(command)]
    return aspect.what, aspect.key(command)


def match(
    recorded: Sequence[Command],
    got: Sequence[Command],
    outcome: Outcome | None = None,
    patches: AbstractSet[str] = frozenset(),
) -> Mismatch | None:
    """The first difference between what a group holds and what the code did, or None.

    `outcome` is what the body came to, if it has ended by now. `patches` are those that the history has marked, in
    whichever group. Whether something that is missing or extra was moved or renamed, the groups that follow tell.
    """
    end = recorded[-1] if recorded and type(recorded[-1]) in ENDS else None
    if end is not None and is_of_the_engine(end):
        return None  # whatever the code did then
    difference = _difference(recorded[:-1] if end is not None else recorded, got, patches)
    if end is None:
        if outcome is None:
            return difference
        return Mismatch("ended early", None if difference is None else difference.expected, None, outcome)
    if outcome is not None:
        return difference or (None if _is_same_end(end, outcome) else Mismatch("ended otherwise", end, None, outcome))
    if difference is None or difference.kind == "extra":
        return Mismatch("ended late", end, None if difference is None else difference.got)
    return difference


def _difference(expected: Sequence[Command], got: Sequence[Command], patches: AbstractSet[str]) -> Mismatch | None:
    if len(expected) == len(got) and all(map(is_same_command, expected, got)):
        return None
    wanted = {identity(command): command for command in expected}
    extra: Command | None = None
    for command in got:
        recorded = wanted.pop(identity(command), None)
        if recorded is None:
            if not isinstance(command, PatchMarked):
                extra = extra or command
            elif command.patch not in patches:
                return Mismatch("new patch", None, command)
        elif not is_same_command(recorded, command):
            return _changed(recorded, command)
    # A mark may be missing: a `patched()` whose new way is the only one left was taken out, as it may be.
    missing = next((command for command in wanted.values() if not isinstance(command, PatchMarked)), None)
    if missing is None and extra is None:
        return None
    return Mismatch("extra" if missing is None else "missing", missing, extra)


def is_same_command(expected: Command, got: Command) -> bool:
    """Whether both ask for the same in the same place."""
    return is_same_request(expected, got) and identity(expected) == identity(got)


def is_same_request(expected: Command, got: Command) -> bool:
    """Whether both ask for the same, in whichever place: the arguments of a step, the delay of a timer."""
    before, now = _ASPECTS[type(expected)], _ASPECTS[type(got)]
    if before.what != now.what or before.details is None or now.details is None:
        return before.what == now.what
    return before.details(expected) == now.details(got)


def _changed(recorded: Command, got: Command) -> Mismatch:
    return Mismatch(_ASPECTS[type(recorded)].change, recorded, got)


# -- the body's end


def is_of_the_engine(end: Command) -> bool:
    """Whether the engine ended the run, and not its code."""
    match end:
        case RunFailed():
            return end.error.type in _BY_ENGINE
        case RunCanceled():
            return end.stopped
        case _:
            return False


def _is_same_end(end: Command, outcome: Outcome) -> bool:
    match end:
        case RunSucceeded():
            return isinstance(outcome, bytes) and _is_same_json(bytes(end.output), outcome)
        case RunContinued():
            return isinstance(outcome, ContinueAsNew) and _is_same_json(bytes(end.input), outcome.arguments.raw)
        case RunFailed() | BodyFailed():
            by_timeout = end.error.type == _TIMED_OUT and isinstance(outcome, CancelledError)
            return by_timeout or qualified_name(type(outcome)) == end.error.type
        case _:
            return isinstance(outcome, CancelledError)


def outcome_of(instance: Instance) -> Outcome | None:
    """What the instance's body came to; None if it has not ended."""
    if not instance.ended:
        return None
    try:
        return instance.encoded_result()
    except BaseException as error:  # noqa: BLE001 - whatever the body raised is its end
        return error


def _is_same_json(recorded: bytes, got: bytes) -> bool:
    """Whether both are JSON of one result: an exported one is indented, a set has another order in each process."""
    return recorded == got or sorted(compact(recorded)) == sorted(got)


def compact(raw: bytes) -> bytes:
    """JSON without the spaces of an exported history."""
    return msgspec.json.format(raw, indent=-1)


_BY_ENGINE = {qualified_name(HistoryTooLong), qualified_name(OutOfTime)}
_TIMED_OUT = qualified_name(TimedOut)
