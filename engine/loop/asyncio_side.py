"""What asyncio finds when it runs a workflow: callbacks, timers, futures and tasks that are deterministic.

Equal code gives equal tasks, in equal order, with equal delays, in every process (DESIGN rules 5 and 7).
asyncio needs help for that in two places:

* `TaskGroup`, anyio's scopes and `asyncio.wait` iterate over sets of tasks and futures, ordered by address.
  Ours have hashes in the order of their creation. They are salted, because asyncio keeps the tasks of all
  loops in one set: ten thousand first tasks of equal hash would make the next one cost 250 µs.
* anyio keeps its scopes in such sets too. So whatever one callback cancels goes on in the order of its
  creation.
"""

import asyncio
from asyncio import current_task
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, copy_context
from math import ceil, isnan
from sys import _getframe  # pyright: ignore[reportPrivateUsage]  # documented; inspect's way costs 30 times more
from traceback import format_exception_only
from typing import Any, TypeVar, TypeVarTuple

from durably.engine.errors import Forbidden
from durably.engine.loop.forbidden_calls import ForbiddenCalls
from durably.engine.loop.handles import (
    Canceled,
    Command,
    CommandFuture,
    Handle,
    RunFuture,
    RunTask,
    TimerHandle,
)
from durably.engine.loop.identity import Identities
from durably.engine.loop.refusals import (
    ENSURE_FUTURE,
    WAIT,
    WRAP_FUTURE,
    refuse_bare_coroutines,
    refuse_unordered,
)
from durably.engine.loop.running import is_running
from durably.engine.loop.whereabouts import called_by
from durably.store.runtime import SECOND_US

__all__ = ["AsyncioSide"]

MAX_COMPLAINTS = 20

FOREVER_S = 1e10
"""Longer delays are cut to this, 300 years, so that every due time fits 64 bits. asyncio allows `inf`."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class AsyncioSide(ForbiddenCalls):
    """The part of a `RunLoop` that asyncio and the code on top of it call."""

    __slots__ = (
        "_generators",
        "_last_order",
        "_reached_s",
        "_ready",
        "_room",
        "_tasks",
        "_untidy",
        "commands",
        "complaints",
        "identities",
        "now_us",
        "pending",
        "timers",
        "turn",
    )

    def __init__(self, salt: int, now_us: int) -> None:
        self.now_us = now_us
        self.commands: list[Command] = []
        """What the code asked for since the last `drive` returned."""
        self.turn: int = 0
        """How often commands were handed out: tells those that the owner has seen from those it has not."""
        self.pending: dict[str, CommandFuture] = {}
        self.timers: dict[str, TimerHandle] = {}
        self.identities = Identities()
        self.complaints: list[str] = []
        """What asyncio would have logged, such as exceptions that nobody looked at. At most 20."""
        # The low 24 bits count, so that small sets are in the order of creation whatever the salt is: a
        # fork has one of its own and takes over a history. The others are the salt, spread by Knuth's
        # factor.
        self._last_order = (salt * 2_654_435_761 & 0xF_FFFF_FFFF) << 24
        self._ready: list[Handle] = []
        self._reached_s = 0.0
        self._tasks: list[RunTask] = []
        self._generators: list[AsyncGenerator[Any, Any]] = []
        self._room = 8
        self._untidy = False

    # -- callbacks

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = Handle(self, callback, args, copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As `call_soon`. What another thread brings is not in the history, so replay could not repeat it."""
        if not is_running(self):
            raise Forbidden("loop.call_soon_threadsafe() from another thread")
        return self.call_soon(callback, *args, context=context)

    # -- timers

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> TimerHandle:
        # Rounded up, as no timer may be early; but for the less than a nanosecond that floats add (1.1 s
        # would be 1100000.0000000002 µs).
        delay_us = ceil(_within_reason(delay) * SECOND_US - 0.001)
        return self._set_timer(
            delay_us,
            (self.now_us + delay_us) / SECOND_US,
            callback,
            args,
            copy_context() if context is None else context,
        )

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> TimerHandle:
        # `when` mostly is loop.time() plus a delay, in floats that in our days are 0.24 µs apart. Rounded
        # to the microsecond, that is the delay again, whatever time it is.
        delay_us = round(_within_reason(when - self.time()) * SECOND_US)
        return self._set_timer(delay_us, when, callback, args, copy_context() if context is None else context)

    def _set_timer(
        self,
        delay_us: int,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context,
    ) -> TimerHandle:
        key = self.next_key("timer")
        timer = TimerHandle(self, callback, args, context)
        timer.arm(key, delay_us, when)
        self.timers[key] = timer
        self.commands.append(timer)
        return timer

    def time(self) -> float:
        """Engine time in seconds. It stands still while the code runs."""
        # A timer set for a float is due at a whole microsecond, which as a float may be the one before.
        # anyio looks, would find it too early, and set another timer.
        return max(self.now_us / SECOND_US, self._reached_s)

    # -- futures and tasks

    def create_future(self) -> RunFuture:
        caller = _getframe(1)
        if caller.f_code is WAIT:
            refuse_unordered(caller)
        elif caller.f_code is WRAP_FUTURE:  # the thread behind it is at work already; here it ends nothing
            raise Forbidden(f"{called_by(caller, 'asyncio.wrap_future')}()")
        return RunFuture(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: Context | None = None,
        eager_start: bool | None = None,
    ) -> RunTask:
        try:
            if eager_start:
                raise Forbidden("asyncio.create_task(eager_start=True)")
            caller = _getframe(1)
            if caller.f_code is ENSURE_FUTURE:
                refuse_bare_coroutines(caller)
            path = self._child_path()
        except Forbidden:
            coro.close()  # else Python warns that nobody awaited it
            raise
        return self._new_task(coro, path, name, copy_context() if context is None else context)

    def _new_task(self, coro: Coroutine[Any, Any, Any], path: str, name: str | None, context: Context) -> RunTask:
        task = RunTask(coro, self, path, name, context)
        self._make_room()
        self._tasks.append(task)  # held strongly, which asyncio does not
        return task

    def _generator_started(self, generator: AsyncGenerator[Any, Any]) -> None:
        # Held until the run ends: the garbage collector would have it closed at any time.
        self._make_room()
        self._generators.append(generator)

    def _make_room(self) -> None:
        """Forget the tasks and generators that are done, once there are twice as many as were alive."""
        if len(self._tasks) + len(self._generators) >= self._room:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._generators = [generator for generator in self._generators if is_unfinished(generator)]
            self._room = 8 + 2 * (len(self._tasks) + len(self._generators))

    # -- commands and their identity (DESIGN rule 7)

    def next_order(self) -> int:
        """The next number in the order of creation, which is a hash as well."""
        self._last_order += 1
        return self._last_order

    def next_key(self, name: str) -> str:
        """The identity of the next command of that name in the current asyncio task."""
        task = self._current_task()
        return self.identities.numbered(f"{'!' if task is None else task.path}/{name}")

    def path(self) -> str:
        """That of the current asyncio task; `!` in a bare callback."""
        task = self._current_task()
        return "!" if task is None else task.path

    def _child_path(self) -> str:
        """That of a new asyncio task: under the current one, or on its own if a bare callback makes it."""
        parent = self._current_task()
        if parent is None:
            return f"!{self.identities.next_number('!')}"
        number = parent.children
        parent.children = number + 1
        return f"{parent.path}/{number}"

    def _current_task(self) -> RunTask | None:
        task = current_task(self)
        if task is None or type(task) is RunTask:
            return task
        raise Forbidden("asyncio.Task() itself, instead of asyncio.create_task()")

    def take_back(self, command: CommandFuture | TimerHandle) -> None:
        """The code has canceled `command`. If that has had its outcome, nothing follows."""
        among = self.pending if isinstance(command, CommandFuture) else self.timers
        if among.pop(command.key, None) is None:
            return
        self._untidy = True
        if command.turn != self.turn:
            self.commands.append(Canceled(command))

    # -- odds and ends that asyncio and anyio ask for

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what asyncio would log. As text, since the objects would keep what they belong to alive."""
        if len(self.complaints) < MAX_COMPLAINTS:
            error: BaseException | None = context.get("exception")
            cause = [] if error is None else format_exception_only(error)
            self.complaints.append(": ".join([str(context.get("message")), *map(str.strip, cause)]))

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def get_exception_handler(self) -> None:
        return None

    def get_task_factory(self) -> None:
        return None

    # Asked for by every future and task: `bool()` is False, and costs no frame. Any, as it is no method of ours.
    get_debug: Any = staticmethod(bool)

    def is_running(self) -> bool:
        return is_running(self)


def is_unfinished(generator: AsyncGenerator[Any, Any]) -> bool:
    """Whether an async generator has a frame still, and so may have a `finally` to run."""
    return getattr(generator, "ag_frame", None) is not None


def _within_reason(delay: float) -> float:
    if isnan(delay):
        raise ValueError("a delay is a number of seconds, and not NaN")
    return min(max(delay, 0.0), FOREVER_S)
