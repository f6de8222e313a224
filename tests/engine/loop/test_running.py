"""A run's loop inside another one, as it always is in the engine."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from durably.engine.loop.run_loop import RunLoop, Spin

Start = Callable[..., RunLoop]


async def drive_in_a_task(loop: RunLoop) -> None:
    task = asyncio.current_task()
    loop.drive()
    assert asyncio.current_task() is task


async def drive_in_a_callback(loop: RunLoop) -> None:
    outer = asyncio.get_running_loop()
    driven = outer.create_future()

    def drive() -> None:
        loop.drive()
        driven.set_result(asyncio.current_task())

    outer.call_soon(drive)
    assert await driven is None


@pytest.mark.parametrize("how", [drive_in_a_task, drive_in_a_callback])
def test_the_loop_outside_stays_intact(started: Start, how: Callable[[RunLoop], Awaitable[None]]) -> None:
    """Its current task, its async generator hooks and its context, which a body does not see."""
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    seen: list[Any] = []

    async def body(loop: RunLoop) -> None:
        seen.extend([variable.get(), asyncio.get_running_loop() is loop, asyncio.current_task() is loop.root])
        variable.set("inside")
        await loop.call("a", None)

    async def outside() -> None:
        variable.set("outside")
        outer, hooks = asyncio.get_running_loop(), sys.get_asyncgen_hooks()
        loop = started(body)
        await how(loop)
        loop.resolve("0/a#0", None)
        await how(loop)
        assert loop.ended
        loop.evict()
        assert asyncio.get_running_loop() is outer
        assert sys.get_asyncgen_hooks() == hooks
        assert variable.get() == "outside"
        await asyncio.sleep(0)

    asyncio.run(outside())
    assert seen == ["unset", True, True]


def test_the_loop_outside_stays_intact_when_a_body_spins(started: Start) -> None:
    async def body(_: RunLoop) -> None:
        while True:  # noqa: ASYNC110 - the point
            await asyncio.sleep(0)

    async def outside() -> None:
        outer, task = asyncio.get_running_loop(), asyncio.current_task()
        loop = started(body)
        with pytest.raises(Spin):
            loop.drive(max_callbacks=10)
        loop.evict()
        assert asyncio.get_running_loop() is outer
        assert asyncio.current_task() is task
        await asyncio.sleep(0)

    asyncio.run(outside())
