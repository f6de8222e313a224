"""Where a run is parked: its asyncio tasks as a tree, the lines they are at, and what each of them waits for."""

import linecache
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import FrameType

from msgspec import Struct

from durably.engine.body.calls import Call
from durably.engine.body.commands import describe
from durably.engine.body.instance import Instance
from durably.engine.body.matching import identity
from durably.engine.log.grammar import Group
from durably.engine.log.records import (
    ENDS,
    Command,
    EventAwaited,
    SignalAwaited,
    TimerSet,
    from_us,
)
from durably.engine.loop.whereabouts import own_frames
from durably.store.runtime import SECOND_US

__all__ = ["Awaited", "Line", "ParkedTask", "asked_at", "line_of", "parked"]


class Line(Struct, frozen=True):
    """A line of code that has not come to its end: it awaits the one that follows in the stack."""

    function: str
    file: str
    line: int
    source: str
    """The line itself; empty where its file is not at hand."""


class Awaited(Struct, frozen=True, omit_defaults=True):
    """A step, a timer, a wait or a child that has no outcome yet."""

    key: str
    what: str
    """In words."""
    since: datetime | None = None
    """When it was asked for; None if that is not in the log."""
    until: datetime | None = None
    """When it ends by itself."""


class ParkedTask(Struct, frozen=True):
    """One asyncio task of a run."""

    path: str
    """Its place in the tree: `0` is the workflow's body, `0/2` the third that this has created."""
    stack: tuple[Line, ...]
    """The outermost line first. Lines of Durably, asyncio and anyio are left out."""
    waits: tuple[Awaited, ...]
    """What it has asked for itself. A task without any waits for another task, a lock, a queue or the like."""


def parked(instance: Instance, asked: Mapping[str, datetime]) -> list[ParkedTask]:
    """The asyncio tasks of an instance that are not done, in the order of their creation.

    `asked` says when each key was asked for: see `asked_at`.
    """
    waits: dict[str, list[Awaited]] = {}
    for key, command in _pending(instance).items():
        waits.setdefault(key.rpartition("/")[0], []).append(_awaited(key, command, asked.get(key)))
    tasks = [
        ParkedTask(task.path, tuple(map(line_of, own_frames(task.get_coro()))), tuple(waits.pop(task.path, ())))
        for task in instance.loop.alive()
    ]
    # A key that the code chose for the whole run does not tell whose it is.
    rest = [each for some in waits.values() for each in some]
    if rest and tasks:
        first = tasks[0]
        tasks[0] = ParkedTask(first.path, first.stack, (*first.waits, *rest))
    return tasks


def asked_at(groups: Iterable[Group]) -> dict[str, datetime]:
    """When each key of an incarnation was asked for."""
    return {
        identity(command)[1]: from_us(group.at_us)
        for group in groups
        for command in group.commands
        if type(command) not in ENDS
    }


def line_of(frame: FrameType) -> Line:
    """The line that a frame is at."""
    code = frame.f_code
    source = linecache.getline(code.co_filename, frame.f_lineno, frame.f_globals).strip()
    return Line(code.co_qualname, code.co_filename, frame.f_lineno, source)


def _pending(instance: Instance) -> dict[str, Command]:
    """What the code has asked for and has no outcome yet, as it stands in the log."""
    loop = instance.loop
    pending: dict[str, Command] = {}
    for key, future in loop.pending.items():
        call: Call = future.command
        pending[key] = call.record(key, instance)
    for key, timer in loop.timers.items():
        due_at = from_us(timer.due_us)
        pending[key] = TimerSet(timer=key, delay=timer.delay_us / SECOND_US, due_at=due_at)
    return pending


def _awaited(key: str, command: Command, since: datetime | None) -> Awaited:
    until: datetime | None = None
    if isinstance(command, TimerSet):
        until = command.due_at
    elif isinstance(command, EventAwaited | SignalAwaited):
        until = command.until
    return Awaited(key, describe(command), since, until)
