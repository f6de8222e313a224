"""What lives on a run's loop: asyncio tasks, futures and callbacks that are the same in every process.

The loop numbers them as they are made: their `order`. It is their hash, too, so that sets of them do not
depend on addresses.
"""

import asyncio
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar, cast

from durably.engine.errors import Forbidden
from durably.engine.loop.whereabouts import called_by

__all__ = [
    "Canceled",
    "Command",
    "CommandFuture",
    "Handle",
    "Home",
    "RunFuture",
    "RunTask",
    "Said",
    "TimerHandle",
    "only_anyio_retries",
    "sort_canceled",
    "tidy",
]

T = TypeVar("T")

_ANYIO_RETRY = "CancelScope._deliver_cancellation"


class Home(Protocol):
    """A run's loop, as seen by those who live there."""

    now_us: int
    turn: int

    def next_order(self) -> int: ...

    def take_back(self, command: "CommandFuture | TimerHandle") -> None: ...


class RunTask(asyncio.Task[Any]):
    """An asyncio task of a run. `path` is its place in the tree of those that created it (DESIGN rule 7)."""

    __slots__ = ("children", "context", "order", "path")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        loop: AbstractEventLoop,
        path: str,
        name: str | None,
        context: Context,
    ) -> None:
        self.order = cast("Home", loop).next_order()  # before all else: asyncio hashes a task while it makes it
        self.path = path
        self.children = 0
        self.context = context
        super().__init__(coroutine, loop=loop, name=name or path, context=context)
        self._log_destroy_pending = False

    def __hash__(self) -> int:
        return self.order

    def end(self) -> None:
        """Be done, without another step, because the coroutine has been closed."""
        self.cancel()  # what it waits for
        super(asyncio.Task, self).set_result(None)  # as a mere future: nobody else can

    @property
    def _loop(self) -> NoReturn:
        # Only anyio reads it, just before it starts a thread. That would do its work, find that it cannot
        # hand over the result, and leave the run waiting for ever.
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  # documented
        raise Forbidden(f"{called_by(frame, 'asyncio.Task._loop')}()")


class RunFuture(asyncio.Future[Any]):
    """A future that stands for nothing outside its run: what `loop.create_future()` gives."""

    __slots__ = ("_order",)

    def __hash__(self) -> int:
        try:
            return self._order
        except AttributeError:  # numbered when first hashed: few ever are
            self._order: int = cast("Home", self.get_loop()).next_order()
            return self._order


class Handle(asyncio.Handle):
    """A callback that is ready to run. Made in a quarter of the time that `asyncio.Handle` takes."""

    __slots__ = ()

    def __init__(
        self,
        loop: AbstractEventLoop,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context,
    ) -> None:
        self._loop = loop
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self._context = context
        self._cancelled = False

    def run(self) -> None:
        """Call it, unless it was canceled meanwhile. Nothing that it raises blows through (DESIGN rule 6)."""
        try:
            if self._callback is not None:
                self._context.run(self._callback, *self._args)
        except BaseException as error:  # noqa: BLE001 - an asyncio task has the SystemExit that it lets through
            if self.task is None:
                message = f"in callback {self.name}"
                self._loop.call_exception_handler({"message": message, "exception": error})
        del self  # this frame lives as long as the traceback of the task's error: that would be a circle

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = None
        self._args = ()

    @property
    def task(self) -> RunTask | None:
        """The asyncio task whose next step this is."""
        owner = getattr(self._callback, "__self__", None)
        return owner if type(owner) is RunTask else None

    @property
    def is_bookkeeping(self) -> bool:
        """Whether this is asyncio or anyio noting that a task or a future is done."""
        module = str(getattr(self._callback, "__module__", ""))
        return module.partition(".")[0] in {"anyio", "asyncio"} and self.name != _ANYIO_RETRY

    @property
    def name(self) -> str:
        """What is called, for messages."""
        return getattr(self._callback, "__qualname__", repr(self._callback))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


# -- commands


class CommandFuture(asyncio.Future[Any]):
    """The outcome of a command that a workflow gave. `command` is its owner's, `key` its identity (DESIGN
    rule 7).

    Canceling it takes effect at once. Were it to wait until the command has been stopped, anyio would go on
    canceling for as long.
    """

    __slots__ = ("command", "key", "order", "turn")

    key: str
    command: Any
    order: int
    turn: int

    def __hash__(self) -> int:
        order: int = self.order
        return order

    def cancel(self, msg: Any | None = None) -> bool:
        canceled = super().cancel(msg)
        if canceled:
            cast("Home", self.get_loop()).take_back(self)
        return canceled


class TimerHandle(Handle, asyncio.TimerHandle):
    """A timer that a workflow set. `due_us` is in engine time."""

    __slots__ = ("delay_us", "due_us", "key", "order", "turn")

    def arm(self, key: str, delay_us: int, when: float) -> None:
        """Say when it is due: in `delay_us` from now, to asyncio known as `when`."""
        home = cast("Home", self._loop)
        self._when = when
        self.key = key
        self.delay_us = delay_us
        self.due_us = home.now_us + delay_us
        self.order = home.next_order()
        self.turn = home.turn

    def __hash__(self) -> int:
        return self.order

    def __eq__(self, other: object) -> bool:
        return self is other

    def cancel(self) -> None:
        super().cancel()
        cast("Home", self._loop).take_back(self)


@dataclass(frozen=True, slots=True)
class Canceled:
    """The code has taken back `what`, which it asked for in an earlier activation."""

    what: CommandFuture | TimerHandle


@dataclass(frozen=True, slots=True)
class Said:
    """The code has said something that has no outcome: it has its place among what else the code asks for."""

    key: str
    what: Any


Command: TypeAlias = CommandFuture | TimerHandle | Canceled | Said


# -- order


def sort_canceled(handles: list[Handle]) -> list[Handle]:
    """Let canceled tasks be woken in the order of their creation. Other callbacks keep their places."""
    return _sorted_among(handles, _order_if_canceled)


def _order_if_canceled(handle: Handle) -> int | None:
    task = handle.task
    return task.order if task is not None and task.cancelling() else None


def tidy(commands: list[Command]) -> list[Command]:
    """Drop what was asked for and taken back in one activation; sort the `Canceled` in the same way."""
    kept = [command for command in commands if isinstance(command, Canceled | Said) or not command.cancelled()]
    return _sorted_among(kept, _order_if_taken_back)


def _order_if_taken_back(command: Command) -> int | None:
    return command.what.order if isinstance(command, Canceled) else None


def _sorted_among(items: list[T], order: Callable[[T], int | None]) -> list[T]:
    """Sort the items that have an order among the places they hold."""
    ordered = [(number, place) for place, item in enumerate(items) if (number := order(item)) is not None]
    if len(ordered) < 2:  # noqa: PLR2004 - one is sorted
        return items
    result = items.copy()
    for (_, place), (_, source) in zip(ordered, sorted(ordered), strict=True):
        result[place] = items[source]
    return result


def only_anyio_retries(handles: list[Handle]) -> bool:
    """Whether these are but anyio scopes, canceling their tasks again, as at every turn until these end."""
    return all(handle.name == _ANYIO_RETRY for handle in handles)
