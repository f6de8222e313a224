"""What a workflow asked for, in words: for errors, and for looking at a run that waits."""

from durably.engine.body.matching import compact
from durably.engine.log.records import (
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

__all__ = ["describe", "in_words", "input_of", "shown"]

LONGEST = 200


def describe(command: Command, *, with_input: bool = True) -> str:  # noqa: C901, PLR0911, PLR0912 - one for each type
    """A command in words, with its key."""
    given = f" with {shown(input_of(command))}" if with_input else ""
    match command:
        case AttemptStarted() | StepScheduled():
            return f"step {command.name!r} ({command.step}){given}{_called(command.line)}"
        case StepCanceled():
            return f"cancel of step {command.name!r} ({command.step})"
        case TimerSet():
            return f"timer {command.timer} of {in_words(command.delay)}"
        case TimerCanceled():
            return f"cancel of timer {command.timer}"
        case EventAwaited():
            return f"wait for event {command.event!r} ({command.wait}){_conditions(command)}{_limit(command.timeout)}"
        case SignalAwaited():
            return f"wait for signal {command.signal!r} ({command.wait}){_limit(command.timeout)}"
        case WaitCanceled():
            return f"cancel of wait {command.wait}"
        case EventSent():
            return f"send of events ({command.send}){given}"
        case SignalSent():
            return f"signal {command.signal!r} to run {command.run} ({command.send}){given}"
        case ChildStarted():
            child = f"child {command.workflow!r} version {command.version} ({command.child})"
            return f"{child}{given}{_called(command.line)}"
        case ChildCancelRequested():
            return f"cancel of child {command.child}"
        case PatchMarked():
            return f"patch {command.patch!r}"
        case RunSucceeded():
            return f"the run succeeded with {shown(bytes(command.output))}"
        case RunContinued():
            return f"the run was continued as new with {shown(bytes(command.input))}"
        case RunFailed() | BodyFailed():
            return f"the body failed with {command.error.type}: {command.error.message[:LONGEST]}"
        case RunCanceled():
            return "the run was canceled"


def input_of(command: Command) -> bytes:
    """What a command carries, as JSON."""
    match command:
        case AttemptStarted() | StepScheduled() | ChildStarted():
            return bytes(command.input)
        case EventSent():
            return bytes(command.events)
        case SignalSent():
            return bytes(command.data)
        case _:
            return b"null"


def shown(raw: bytes) -> str:
    """JSON on one line, cut where it gets too long."""
    text = compact(raw).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def in_words(seconds: float) -> str:
    """A duration as it was asked for, to the microsecond: `14 d`, `1 h 30 min`, `0.5 s`. Two that differ read so."""
    left = round(seconds * 1_000_000)
    parts: list[str] = []
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        count, left = divmod(left, unit * 1_000_000)
        if count:
            parts.append(f"{count} {name}")
    if left or not parts:
        parts.append(f"{left / 1_000_000:.6f}".rstrip("0").rstrip(".") + " s")
    return " ".join(parts)


def _called(line: str) -> str:
    return f", called at {line}" if line else ""


def _limit(timeout: float | None) -> str:
    return "" if timeout is None else f" for {in_words(timeout)}"


def _conditions(command: EventAwaited) -> str:
    match = f" that matches {shown(bytes(command.match))}" if bytes(command.match) != b"null" else ""
    where = "" if command.where is None else f" where {command.where}"
    given = f" with vars {shown(bytes(command.vars))}" if bytes(command.vars) != b"null" else ""
    return match + where + given
