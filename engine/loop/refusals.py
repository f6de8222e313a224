"""Calls that a run's loop refuses by who makes them, because their methods of the loop alone are innocent.

asyncio keeps futures in sets, which are in the order of addresses unless the futures are ours: another order in each
process, and so no order that a replay could repeat. Where that would decide what happens, the call is refused.
"""

# pyright: reportPrivateUsage=false
# (the functions of asyncio that do it are private; where a Python has others, nothing is refused)

import asyncio
from asyncio import tasks
from collections.abc import Collection
from inspect import iscoroutine
from types import CodeType, FrameType, FunctionType
from typing import Any, cast

from durably.engine.errors import Forbidden

__all__ = ["ENSURE_FUTURE", "WAIT", "WRAP_FUTURE", "refuse_bare_coroutines", "refuse_unordered"]


def _code(*functions: object) -> CodeType | None:
    """The code of the first function that this Python has."""
    return next((function.__code__ for function in functions if isinstance(function, FunctionType)), None)


WAIT = _code(getattr(tasks, "_wait", None))
"""What `asyncio.wait` does: the first that it asks the loop for is a future."""
WRAP_FUTURE = _code(asyncio.wrap_future)
ENSURE_FUTURE = _code(getattr(tasks, "_ensure_future", None), asyncio.ensure_future)
_BY_ADDRESS: object = object.__hash__
_AS_COMPLETED = _code(getattr(getattr(tasks, "_AsCompletedIterator", int), "__init__", None), asyncio.as_completed)


def refuse_unordered(frame: FrameType) -> None:
    """Refuse `asyncio.wait` over several futures, one of which would stand in its sets by its address.

    Tasks and `loop.create_future()` are ours. What `asyncio.gather()` and `asyncio.Future()` give is not.
    """
    futures: Collection[Any] = frame.f_locals.get("fs", ())
    if len(futures) > 1:
        for future in futures:
            if type(future).__hash__ is _BY_ADDRESS:
                raise Forbidden("asyncio.wait() of several futures " + _made_by(future), _INSTEAD_OF_SETS)


_INSTEAD_OF_SETS = (
    "give it asyncio tasks (asyncio.create_task() of an async function that awaits the gather()) and futures of "
    "asyncio.get_running_loop().create_future(), which have the same order everywhere"
)


def _made_by(future: object) -> str:
    made_by = "asyncio.gather()" if type(future).__name__ == "_GatheringFuture" else f"{type(future).__name__}()"
    return f"of which one is from {made_by}"


def refuse_bare_coroutines(frame: FrameType) -> None:
    """Refuse `asyncio.as_completed` of coroutines: it makes tasks of them in the order of a set of coroutines.

    `frame` is that of `asyncio.ensure_future`.
    """
    caller: FrameType | None = frame
    while caller is not None and caller.f_globals is frame.f_globals:
        if caller.f_code is _AS_COMPLETED:
            given: object = caller.f_locals.get("aws", caller.f_locals.get("fs"))
            for each in cast("Collection[object]", given) if isinstance(given, Collection) else ():
                if iscoroutine(each):
                    each.close()  # else Python warns that nobody awaited it
            raise Forbidden("asyncio.as_completed() of bare coroutines", "use durably.as_completed(), which takes them")
        caller = caller.f_back
