"""One event loop inside another, on one thread (DESIGN rule 5).

asyncio means a thread to run one loop. The engine runs thousands: a run's loop is entered from inside the
engine's own, for a few microseconds, and left again. That takes functions which asyncio keeps for authors
of event loops. They are used in this module only, which tries them out when it is imported: a Python that
has changed them is refused there, and not in the middle of somebody's run.
"""

# pyright: reportPrivateUsage=false
# (no public function enters a loop or a task: that is what this module is for)

import asyncio
import sys
from asyncio import AbstractEventLoop, Task
from asyncio.events import _get_running_loop, _set_running_loop
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeAlias

__all__ = ["Outside", "as_current", "enter", "is_running", "leave"]

AsyncGeneratorHook = Callable[[AsyncGenerator[Any, Any]], None]


Outside: TypeAlias = tuple[AbstractEventLoop | None, Task[Any] | None, Any]
"""What was running on this thread before `enter`, to be put back by `leave`: loop, task, and generator hooks."""


def enter(loop: AbstractEventLoop, first_iteration: AsyncGeneratorHook, finalizer: AsyncGeneratorHook) -> Outside:
    """Make `loop` the running loop of this thread, and the hooks those of the async generators started in it.

    The hooks belong to the thread: with those of the loop outside, a generator that a workflow abandons
    would be finished on the engine's loop, with whatever it does in its `finally`.
    """
    loop_outside = _get_running_loop()
    outside = loop_outside, _suspend(loop_outside), sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(first_iteration, finalizer)
    _set_running_loop(loop)
    return outside


def leave(outside: Outside) -> None:
    """Put back what `enter` found."""
    loop, task, hooks = outside
    _set_running_loop(loop)
    sys.set_asyncgen_hooks(*hooks)
    if task is not None:
        _resume(task)


if sys.version_info >= (3, 14):
    # The current task belongs to the thread there, no longer to the loop, and no task may be stepped inside
    # another.
    from asyncio.tasks import _swap_current_task

    def _suspend(loop: AbstractEventLoop | None) -> Task[Any] | None:
        return None if loop is None else _swap_current_task(loop, None)

    def _resume(task: Task[Any]) -> None:
        _swap_current_task(task.get_loop(), task)
else:

    def _suspend(loop: AbstractEventLoop | None) -> Task[Any] | None:  # noqa: ARG001 - for 3.14 only
        return None

    def _resume(task: Task[Any]) -> None: ...


def is_running(loop: AbstractEventLoop) -> bool:
    """Whether `loop` is the one entered on the calling thread."""
    return _get_running_loop() is loop


def as_current(task: Task[Any], call: Callable[[], None]) -> None:
    """Call `call` while `task` is the current task of its loop, which must have been entered."""
    loop = task.get_loop()
    _enter_task(loop, task)
    try:
        call()
    finally:
        _leave_task(loop, task)


def _try_out() -> None:
    inside, outside = AbstractEventLoop(), _get_running_loop()  # type: ignore[abstract]  # only its identity matters
    task = None if outside is None else asyncio.current_task(outside)

    def ignore(_: AsyncGenerator[Any, Any]) -> None: ...

    hooks = sys.get_asyncgen_hooks()
    entered = enter(inside, ignore, ignore)
    nested = asyncio.get_running_loop() is inside and asyncio.current_task() is None
    leave(entered)
    intact = _get_running_loop() is outside and sys.get_asyncgen_hooks() == hooks
    if outside is not None:
        intact = intact and asyncio.current_task(outside) is task
    if not (nested and intact):
        raise ImportError(f"Durably cannot run event loops inside this Python's asyncio ({sys.version.split()[0]})")


_try_out()
