"""Where a run is parked: its asyncio tasks as a tree, the lines they are at, and what each of them waits for."""

import asyncio
import linecache
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import FrameType
from typing import Any

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
from durably.engine.loop.handles import RunTask
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
    """What it has asked for itself. Without any, and without `tasks`, it waits for a lock, a queue or the like."""
    tasks: tuple[str, ...] = ()
    """The paths of the asyncio tasks that it waits for: those that it awaits itself, gathers or has in a group."""
    running: tuple[Awaited, ...] = ()
    """What it has asked for and nothing waits for: a child that was started and is not awaited yet."""


def parked(instance: Instance, asked: Mapping[str, datetime]) -> list[ParkedTask]:
    """The asyncio tasks of an instance that are not done, in the order of their creation.

    `asked` says when each key was asked for: see `asked_at`.
    """
    alive = instance.loop.alive()
    paths = {task.path for task in alive}
    waits: dict[str, list[Awaited]] = {}
    running: dict[str, list[Awaited]] = {}
    for key, command in _pending(instance).items():
        task = key.rpartition("/")[0]
        # A key that the code chose for the whole run does not tell whose it is.
        owner = task if task in paths else alive[0].path if alive else task
        into = running if _is_left_alone(instance, key) else waits
        into.setdefault(owner, []).append(_awaited(key, command, asked.get(key)))
    return [
        ParkedTask(
            task.path,
            tuple(map(line_of, own_frames(task.get_coro()))),
            tuple(waits.get(task.path, ())),
            tuple(other.path for other in alive if _awaits(task, other)),
            tuple(running.get(task.path, ())),
        )
        for task in alive
    ]


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


def _is_left_alone(instance: Instance, key: str) -> bool:
    """Whether nothing would be told of the outcome: asyncio notes who waits for a future among its callbacks."""
    future = instance.loop.pending.get(key)
    return future is not None and not _callbacks(future)


def _awaits(task: RunTask, other: RunTask) -> bool:
    """Whether a task waits for another: for it alone, or in `gather`, `wait` or a task group."""
    waiter: object = getattr(task, "_fut_waiter", None)
    return waiter is not None and (waiter is other or any(_tells(each, waiter) for each in _callbacks(other)))


def _tells(callback: Any, waiter: object) -> bool:
    """Whether a callback is one that sets this future: in its closure, its arguments or its task group."""
    cells = getattr(callback, "__closure__", None) or ()
    held = [getattr(callback, "__self__", None), *getattr(callback, "args", ())]
    for cell in cells:
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not set yet
            continue
    return any(each is waiter or _is_group_of(each, waiter) for each in held)


def _is_group_of(thing: object, waiter: object) -> bool:
    ours = type(thing).__module__.partition(".")[0] in {"anyio", "asyncio"}  # a user's attributes may do anything
    return ours and getattr(thing, "_on_completed_fut", None) is waiter


def _callbacks(future: asyncio.Future[Any]) -> list[Any]:
    """Those of a future. asyncio has no public way to ask."""
    return [callback for callback, _ in getattr(future, "_callbacks", None) or ()]


def _awaited(key: str, command: Command, since: datetime | None) -> Awaited:
    until: datetime | None = None
    if isinstance(command, TimerSet):
        until = command.due_at
    elif isinstance(command, EventAwaited | SignalAwaited):
        until = command.until
    return Awaited(key, describe(command), since, until)
