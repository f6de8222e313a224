"""Closing the coroutines of an instance that is thrown away (DESIGN rule 6).

Left to the garbage collector, a suspended coroutine would be closed some time on somebody else's loop, and
its `finally` blocks would really do what they do. So it is closed by us, while its own loop is set and
refuses commands.
"""

import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager, suppress
from inspect import CORO_CREATED, getcoroutinestate, iscoroutine
from typing import Any

from durably.engine.loop.handles import RunTask
from durably.engine.loop.running import as_current

__all__ = ["Evicted", "close_generator", "close_task", "dropped_quietly", "is_stubborn"]

_ATTEMPTS = 100
"""A `finally` that awaits something swallows one `Evicted`; the next one ends that wait. So this is
how many may do so, one inside the other, and how long we bear with a coroutine that never gives in."""


class Evicted(BaseException):
    """Raised where code that is being thrown away waits, and where it calls a step."""


def close_task(task: RunTask) -> None:
    """Run the `finally` blocks of an asyncio task, which then is done.

    They run as the current task and in its context: elsewhere, leaving an anyio scope or resetting a context
    variable is an error, which a body would catch.
    """
    task.context.run(as_current, task, lambda: _close(task.get_coro()))
    task.end()


def is_stubborn(task: RunTask) -> bool:
    """Whether `task` could not be closed, because it swallows every `Evicted`."""
    return getattr(task.get_coro(), "cr_frame", None) is not None


def _close(coroutine: Any) -> None:
    if getattr(coroutine, "cr_frame", None) is not None and getcoroutinestate(coroutine) == CORO_CREATED:
        for value in list(coroutine.cr_frame.f_locals.values()):
            inner = getattr(value, "_coro", value)  # anyio wraps the coroutine of a task: nobody else would close it
            if iscoroutine(inner):
                _close(inner)
    for _ in range(_ATTEMPTS):
        try:
            # Not close(): where a `finally` awaits something, that ends the coroutines around it and leaves the inner
            # ones suspended, for the garbage collector. What we throw is handed to the innermost await as it is.
            coroutine.throw(Evicted("the run's code is being thrown away"))
        except BaseException:  # noqa: BLE001 - whatever a `finally` raises ends here, with the instance
            return


def close_generator(generator: AsyncGenerator[Any, Any]) -> None:
    """Run the `finally` blocks of an async generator that nobody iterates over any more."""
    closing = generator.aclose()
    with suppress(BaseException):  # StopIteration is the good end; for the others, see above
        closing.send(None)
        for _ in range(_ATTEMPTS):
            closing.throw(GeneratorExit())


@contextmanager
def dropped_quietly() -> Generator[None]:
    """Inside, drop coroutines that could not be closed. Python tries once more, and would complain."""
    outside = sys.unraisablehook

    def ignore(unraisable: "sys.UnraisableHookArgs") -> None:
        if not (isinstance(unraisable.exc_value, RuntimeError) and "GeneratorExit" in str(unraisable.exc_value)):
            outside(unraisable)

    sys.unraisablehook = ignore
    try:
        yield
    finally:
        sys.unraisablehook = outside
