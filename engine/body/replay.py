"""Replay: rebuild an instance by feeding it its own history, and check that the code still does what it did.

What is compared is a step's identity and the digest of its arguments, a timer's identity and delay, and how the body
ended (DESIGN rule 7). The order of commands within one group is not: their identities say which is which.
"""

from asyncio import CancelledError
from collections.abc import Generator, Sequence
from traceback import walk_tb
from typing import NamedTuple

import msgspec

from durably.engine.body.instance import Beginning, Instance, Runnable, Undecodable
from durably.engine.errors import NondeterminismError, qualified_name
from durably.engine.log.grammar import Group, Incarnation
from durably.engine.log.limits import HistoryTooLong
from durably.engine.log.records import (
    ENDS,
    AttemptStarted,
    BodyFailed,
    Command,
    Input,
    RunCanceled,
    RunFailed,
    RunSucceeded,
    StepCanceled,
    StepScheduled,
    TimerCanceled,
    TimerSet,
    from_us,
    type_name,
)
from durably.engine.values.codec import encode_result

__all__ = ["Mismatch", "match", "replay", "undecodable"]


class Mismatch(NamedTuple):
    """How code and history differ, and the commands that show it."""

    kind: str
    expected: Command | None
    got: Command | None
    outcome: bytes | BaseException | None = None
    """What the body came to, where that is the difference."""


def replay(runnable: Runnable, beginning: Beginning, incarnation: Incarnation) -> Generator[None, None, Instance]:
    """Drive a new instance through an incarnation's groups and return it.

    Yields after every group, so that a long replay can give way to others (DESIGN rule 5). Raises
    `NondeterminismError` when the code does not fit the history; the instance is then gone.
    """
    instance = Instance(runnable, beginning, incarnation.carry, replaying=True)
    try:
        for group in incarnation.groups:
            try:
                got = instance.feed(group.input, group.at_us, group.seq)
            except Undecodable as error:
                raise undecodable(instance, group.input, group.at_us, group.seq, error) from error
            mismatch = match(group.commands, got, instance)
            if mismatch is not None:
                raise NondeterminismError(_report(instance, group, mismatch, ""))
            yield
    except BaseException:
        instance.evict()
        raise
    instance.replaying = False
    return instance


def undecodable(instance: Instance, record: Input, at_us: int, seq: int, error: Undecodable) -> NondeterminismError:
    """What to say of a stored value that the code cannot decode any more (DESIGN rule 14)."""
    return NondeterminismError(_report(instance, Group(seq, at_us, record, []), None, str(error)))


def match(recorded: Sequence[Command], got: Sequence[Command], instance: Instance) -> Mismatch | None:
    """The first difference between what the history holds and what the code did, or None."""
    end = recorded[-1] if recorded and type(recorded[-1]) in ENDS else None
    if isinstance(end, RunFailed) and end.error.type == TOO_LONG:
        return None  # the engine ended the run, whatever the code did then
    expected = recorded[:-1] if end is not None else recorded
    if len(expected) != len(got) or any(map(_differs, expected, got)):
        difference = _difference(expected, got)
        if difference is not None:
            return difference if not (instance.ended and end is None) else difference._replace(kind="ended early")
    if end is None:
        return Mismatch("ended early", None, None) if instance.ended else None
    if not instance.ended:
        return Mismatch("ended late", end, None)
    return _ended_otherwise(end, instance)


def _identity(command: Command) -> tuple[str, str]:
    match command:
        case AttemptStarted() | StepScheduled():
            return "step", command.step
        case StepCanceled():
            return "step canceled", command.step
        case TimerSet():
            return "timer", command.timer
        case TimerCanceled():
            return "timer canceled", command.timer
        case _:
            return type_name(command), ""


def _detail(command: Command) -> str | float | None:
    match command:
        case AttemptStarted() | StepScheduled():
            return command.digest
        case TimerSet():
            return command.delay
        case _:
            return None


def _differs(expected: Command, got: Command) -> bool:
    return _identity(expected) != _identity(got) or _detail(expected) != _detail(got)


def _difference(expected: Sequence[Command], got: Sequence[Command]) -> Mismatch | None:
    wanted = {_identity(command): command for command in expected}
    extra: Command | None = None
    for command in got:
        recorded = wanted.pop(_identity(command), None)
        if recorded is None:
            extra = extra or command
        elif _detail(recorded) != _detail(command):
            kind = "another delay" if isinstance(command, TimerSet) else "other arguments"
            return Mismatch(kind, recorded, command)
    missing = next(iter(wanted.values()), None)
    if missing is not None and extra is not None:
        return Mismatch("something else", missing, extra)
    if missing is not None:
        return Mismatch("missing", missing, None)
    return Mismatch("extra", None, extra) if extra is not None else None


def _ended_otherwise(end: Command, instance: Instance) -> Mismatch | None:
    outcome = _outcome(instance)
    match end:
        case RunSucceeded():
            same = isinstance(outcome, bytes) and _is_same(bytes(end.output), outcome)
        case RunFailed() | BodyFailed():
            same = qualified_name(type(outcome)) == end.error.type
        case _:
            same = isinstance(outcome, CancelledError)
    return None if same else Mismatch("ended otherwise", end, None, outcome)


def _outcome(instance: Instance) -> bytes | BaseException:
    """What the body came to: its result, encoded, or what it raised."""
    try:
        return encode_result(instance.result())
    except BaseException as error:  # noqa: BLE001 - whatever the body raised is its end
        return error


def _is_same(recorded: bytes, got: bytes) -> bool:
    """Whether both are JSON of one result: an exported one is indented, a set has another order in each process."""
    return recorded == got or sorted(_compact(recorded)) == sorted(got)


def _compact(raw: bytes) -> bytes:
    return msgspec.json.format(raw, indent=-1)


# -- telling about it


def _report(instance: Instance, group: Group, mismatch: Mismatch | None, problem: str) -> str:
    beginning, runnable = instance.beginning, instance.runnable
    at = from_us(group.at_us).isoformat(timespec="seconds")
    run = f"run {beginning.run_id} of workflow {runnable.name!r} (version {runnable.version})"
    lines = [f"{run} does not fit its history at record {group.seq}, {type_name(group.input)}, of {at}"]
    if mismatch is None:
        lines.append(f"  {problem}")
    else:
        lines.append(f"  {_EXPLANATION[mismatch.kind]}")
        lines.append(f"  expected (history): {_describe(mismatch.expected)}")
        lines.append(f"  got (code):         {_got(mismatch, instance)}")
    lines.extend(f"  at {place}" for place in instance.loop.where()[:3])
    lines.append(f"  {_cause(instance)}")
    lines.append(
        "  The run is blocked, not failed: nothing is lost and no retry is used. Put the fitting code back, or keep "
        "the old workflow beside the new one as version="
        f"{runnable.version + 1}, and restart: the run then goes on. `durably replay` shows this without a server."
    )
    return "\n".join(lines)


TOO_LONG = qualified_name(HistoryTooLong)
_EXPLANATION = {
    "missing": "the code no longer does something that the history holds",
    "extra": "the code does something that the history does not hold",
    "something else": "the code does something else than the history holds",
    "other arguments": "the code calls the same step with other arguments",
    "another delay": "the code sets the same timer with another delay",
    "ended early": "the code has come to its end while the history goes on",
    "ended late": "the history has come to its end while the code goes on",
    "ended otherwise": "the code ends in another way than the history",
}


def _describe(command: Command | None) -> str:  # noqa: PLR0911 - one for each kind
    match command:
        case None:
            return "nothing more"
        case AttemptStarted() | StepScheduled():
            where = f", called at {command.line}" if command.line else ""
            return f"step {command.name!r} ({command.step}) with {_shown(bytes(command.input))}{where}"
        case StepCanceled():
            return f"cancel of step {command.name!r} ({command.step})"
        case TimerSet():
            return f"timer {command.timer} of {command.delay:g} s"
        case TimerCanceled():
            return f"cancel of timer {command.timer}"
        case RunSucceeded():
            return f"the run succeeded with {_shown(bytes(command.output))}"
        case RunFailed() | BodyFailed():
            return f"the body failed with {command.error.type}: {command.error.message[:200]}"
        case RunCanceled():
            return "the run was canceled"


def _got(mismatch: Mismatch, instance: Instance) -> str:
    if mismatch.got is not None:
        return _describe(mismatch.got)
    if not instance.ended:
        return "the body waits for something else" if mismatch.kind != "extra" else "more"
    outcome = mismatch.outcome or _outcome(instance)
    if isinstance(outcome, bytes):
        return f"the body returned {_shown(outcome)}"
    return f"the body raised {qualified_name(type(outcome))}: {str(outcome)[:200]}{_place(outcome)}"


def _shown(raw: bytes) -> str:
    return _compact(raw).decode()[:200]


def _place(error: BaseException) -> str:
    """The innermost frame that an error came through and that is neither ours nor asyncio's."""
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in {"asyncio", "durably"}:
            return f", in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{line})"
    return ""


def _cause(instance: Instance) -> str:
    then, now = instance.beginning.started.code, instance.runnable.code
    if then != now:
        return f"The workflow's code has changed since the run started (fingerprint {then}, now {now})."
    return (
        f"The workflow's own code is unchanged (fingerprint {now}): a function it calls has changed, or it is not "
        "deterministic. Time, randomness, a set's order, globals and the environment belong in steps."
    )
