"""anyio on a `RunLoop`: its primitives are durable, its cancel scopes the same in every process."""

import asyncio
import gc
import math
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from durably.engine.loop.run_loop import RunLoop, Spin, TimerHandle


async def sleep(_: Any) -> float:
    before = anyio.current_time()
    await anyio.sleep(3)
    return anyio.current_time() - before


async def checkpoint(_: Any) -> str:
    await anyio.lowlevel.checkpoint()
    return "done"


async def task_group(step: Any) -> list[int]:
    seen: list[int] = []

    async def child(number: int) -> None:
        await step(f"s{number}", 5 - number)
        seen.append(number)

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(child, number)
    return seen


async def task_group_start(step: Any) -> list[Any]:
    async def service(*, task_status: anyio.abc.TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        await step("prepare")
        task_status.started("ready")
        await anyio.sleep(math.inf)

    status: list[Any] = []
    async with anyio.create_task_group() as group:
        status.append(await group.start(service))
        group.cancel_scope.cancel()
    return status


async def cancel_with_cleanup(step: Any) -> list[int]:
    """Each child has a scope of its own, kept in a set that is ordered by address."""
    order: list[int] = []

    async def child(number: int) -> None:
        try:
            with anyio.CancelScope():
                await step("wait", 50)
        except anyio.get_cancelled_exc_class():
            order.append(number)
            with anyio.CancelScope(shield=True):
                await step(f"cleanup-{len(order)}")
            raise

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(child, number)
        await step("work")
        group.cancel_scope.cancel()
    return order


async def failing_child(step: Any) -> str:
    async def fail() -> None:
        await step("fail", gives=ValueError())

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(step, "long", 50)
            group.start_soon(fail)
    except ExceptionGroup as group_error:
        return ", ".join(type(error).__name__ for error in group_error.exceptions)
    return "?"


async def move_on_after(step: Any) -> list[Any]:
    with anyio.move_on_after(2) as scope:
        await step("slow", 100)
    return [scope.cancelled_caught]


async def fail_after(step: Any) -> str:
    try:
        with anyio.fail_after(0.1):
            await step("slow", 100)
    except TimeoutError:
        return "late"
    return "?"


async def moved_deadline(step: Any) -> float:
    begin = anyio.current_time()
    with anyio.move_on_after(2) as scope:
        await step("first")
        scope.deadline += 3
        await step("slow", 100)
    return anyio.current_time() - begin


async def level_cancellation(step: Any) -> str:
    with anyio.move_on_after(1):
        with suppress(asyncio.CancelledError):
            await step("slow", 100)
        try:
            await step("again", 3)
        except asyncio.CancelledError:
            return "canceled again"
    return "?"


async def event_lock_stream(step: Any) -> list[str]:
    send, receive = anyio.create_memory_object_stream[str](1)
    lock, event, seen = anyio.Lock(), anyio.Event(), list[str]()

    async def produce() -> None:
        async with send:
            for number in range(3):
                await send.send(await step("produce", gives=f"item {number}"))
        event.set()

    async with anyio.create_task_group() as group, receive:
        group.start_soon(produce)
        async for item in receive:
            async with lock:
                seen.append(item)
        await event.wait()
    return seen


async def capacity_limiter(step: Any) -> list[int]:
    limiter, seen = anyio.CapacityLimiter(2), list[int]()

    async def child(number: int) -> None:
        async with limiter:
            await step("work", 3 - number % 2)
            seen.append(number)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(child, number)
    return seen


WORKFLOWS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "sleep": (sleep, 3),
    "checkpoint": (checkpoint, "done"),
    "task group": (task_group, [3, 2, 1, 0]),
    "task group, start": (task_group_start, ["ready"]),
    "task group, cancel": (cancel_with_cleanup, list(range(12))),
    "task group, failing child": (failing_child, "ValueError"),
    "move_on_after": (move_on_after, [True]),
    "fail_after": (fail_after, "late"),
    "deadline, moved": (moved_deadline, 5),
    "level cancellation": (level_cancellation, "canceled again"),
    "Event, Lock, memory object stream": (event_lock_stream, ["item 0", "item 1", "item 2"]),
    "CapacityLimiter": (capacity_limiter, [1, 0, 2, 3, 4]),
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_primitive(name: str, simulate: Any) -> None:
    """Each gives what it gives on asyncio's own loop, and its replay gives the same commands."""
    workflow, expected = WORKFLOWS[name]
    run = simulate(workflow)
    if run.error is not None:
        raise run.error
    assert run.result == expected


def test_every_process_gives_the_same_commands(elsewhere: Any) -> None:
    """They have other string hashes, and other addresses."""
    first, *others = elsewhere(__file__)
    assert first.keys() == WORKFLOWS.keys()
    for other in others:
        assert other == first


def test_what_one_scope_cancels_is_canceled_in_the_order_of_creation(simulate: Any) -> None:
    run = simulate(cancel_with_cleanup)
    assert run.commands[1][:2] == ["cancel 0/0/wait#0", "cancel 0/1/wait#0"]
    assert run.commands[1] == [
        *(f"cancel 0/{number}/wait#0" for number in range(12)),
        *(f"call 0/{number}/cleanup-{number + 1}#0" for number in range(12)),
    ]


def test_a_deadline_is_one_timer_at_any_time_of_day() -> None:
    """anyio compares floats when its timer has fired, and would set another one if it looked too early."""

    async def body() -> None:
        with anyio.move_on_after(0.2):
            await anyio.Event().wait()

    for microsecond in range(100):
        loop = RunLoop(1, 1_800_000_000_000_000 + microsecond)
        loop.start(body(), Context())
        (timer,) = loop.drive()
        assert isinstance(timer, TimerHandle)
        assert (timer.key, timer.delay_us) == ("0/timer#0", 200_000)
        assert loop.fire("0/timer#0")
        assert loop.drive() == []
        assert loop.ended
        loop.evict()


def test_a_task_that_cannot_be_canceled_does_not_spin(launch: Any) -> None:
    """anyio cancels it again at every turn of the loop. The loop stops turning, until something happens."""

    class Deaf(asyncio.Future[str]):
        def cancel(self, msg: Any | None = None) -> bool:
            return msg is not None

    deaf: list[Deaf] = []

    async def workflow(step: Any) -> str:
        deaf.append(Deaf(loop=asyncio.get_running_loop()))
        with anyio.move_on_after(1):
            await step("first", 0.5)
            await deaf[0]
        return "went on"

    loop = launch(workflow)
    loop.drive()
    loop.resolve("0/first#0", None)
    loop.drive(max_callbacks=100)
    loop.fire("0/timer#0")
    assert loop.drive(max_callbacks=100) == []
    assert not loop.ended
    deaf[0].set_result("at last")
    loop.drive(max_callbacks=100)
    assert loop.outcome() == "went on"
    loop.evict()


def test_a_task_that_swallows_every_cancel_is_a_spin(launch: Any) -> None:
    async def workflow(step: Any) -> None:
        with anyio.move_on_after(1):
            while True:
                try:
                    await step("slow", 100)
                except asyncio.CancelledError:
                    continue

    loop = launch(workflow)
    loop.drive()
    loop.fire("0/timer#0")
    with pytest.raises(Spin, match=r"1,000 callbacks .* asyncio task 0: .*step \(.*conftest.py:"):
        loop.drive(max_callbacks=1_000)
    loop.evict()


def test_an_evicted_scope_leaves_nothing_behind(launch: Any) -> None:
    """anyio remembers each task that is in a scope, with the scope, which knows the task."""
    seen: list[str] = []

    async def workflow(step: Any) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(step, "child")
                with anyio.fail_after(5):
                    await step("parent")
        except Exception as error:  # noqa: BLE001 - what is not to happen
            seen.append(repr(error))

    loop = launch(workflow)
    loop.drive()
    tasks = [weakref.ref(task) for task in asyncio.all_tasks(loop)]
    assert len(tasks) == 2
    gc.disable()
    try:
        loop.evict()
        assert [task() for task in tasks] == [None, None]
    finally:
        gc.enable()
    assert seen == []
