"""A workflow for each primitive of anyio."""

import math
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel

from durably import StepError
from tests.primitives.primitive import SLOW, UNIT, broken, primitive, work

__all__: list[str] = []


@primitive("anyio.sleep", gives="slept", waits="timer 3")
async def anyio_sleep() -> str:
    await anyio.sleep(3 * UNIT)
    return "slept"


@primitive("anyio.sleep_until", gives="slept", waits="timer 3")
async def anyio_sleep_until() -> str:
    await anyio.sleep_until(anyio.current_time() + 3 * UNIT)
    return "slept"


@primitive("anyio.sleep_forever", gives="moved on", waits="timer 3")
async def anyio_sleep_forever() -> str:
    with anyio.move_on_after(3 * UNIT):
        await anyio.sleep_forever()
    return "moved on"


@primitive("anyio.lowlevel.checkpoint", gives="passed", waits=None)
async def anyio_checkpoint() -> str:
    await anyio.lowlevel.checkpoint()
    return "passed"


@primitive("anyio.current_time", gives=True, waits="timer 3")
async def anyio_current_time() -> bool:
    before = anyio.current_time()
    await anyio.sleep(3 * UNIT)
    return anyio.current_time() - before >= 3 * UNIT


@primitive("anyio.create_task_group, start_soon", gives=["c", "b", "a"])
async def anyio_task_group() -> list[str]:
    seen: list[str] = []

    async def child(name: str, takes: float) -> None:
        seen.append(await work(name, takes))

    async with anyio.create_task_group() as group:
        group.start_soon(child, "a", 5)
        group.start_soon(child, "b", 3)
        group.start_soon(child, "c", 1)
    return seen


@primitive("anyio.create_task_group, start", gives=["ready"])
async def anyio_task_group_start() -> list[Any]:
    async def service(*, task_status: anyio.abc.TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        task_status.started(await work("ready"))
        await anyio.sleep(math.inf)

    status: list[Any] = []
    async with anyio.create_task_group() as group:
        status.append(await group.start(service))
        group.cancel_scope.cancel()
    return status


@primitive("anyio.create_task_group, a child fails", gives=["StepError"])
async def anyio_task_group_fails() -> list[str]:
    seen: list[str] = []
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(work, "slow", SLOW)
            group.start_soon(broken)
    except* StepError as errors:
        seen += [type(error).__name__ for error in errors.exceptions]
    return seen


@primitive("anyio.CancelScope, with cleanup in a shield", gives=list(range(12)))
async def anyio_cancel_scope() -> list[int]:
    order: list[int] = []

    async def child(number: int) -> None:
        try:
            with anyio.CancelScope():
                await work("wait", SLOW)
        except anyio.get_cancelled_exc_class():
            order.append(number)
            with anyio.CancelScope(shield=True):
                await work(f"cleanup-{len(order)}")
            raise

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(child, number)
        await work("first")
        group.cancel_scope.cancel()
    return order


@primitive("anyio.move_on_after", gives=True, waits="timer 3")
async def anyio_move_on_after() -> bool:
    with anyio.move_on_after(3 * UNIT) as scope:
        await work("slow", SLOW)
    return scope.cancelled_caught


@primitive("anyio.move_on_after, deadline moved", gives=True, waits="timer 1000")
async def anyio_deadline_moved() -> bool:
    with anyio.move_on_after(SLOW * UNIT) as scope:
        await work("first")
        scope.deadline = anyio.current_time() + 3 * UNIT
        await work("slow", SLOW)
    return scope.cancelled_caught


@primitive("anyio.fail_after", gives="late", waits="timer 3")
async def anyio_fail_after() -> str:
    try:
        with anyio.fail_after(3 * UNIT):
            return await work("slow", SLOW)
    except TimeoutError:
        return "late"


@primitive("anyio.Event", gives="set")
async def anyio_event() -> str:
    event = anyio.Event()

    async def release() -> None:
        await work("release")
        event.set()

    async with anyio.create_task_group() as group:
        group.start_soon(release)
        await event.wait()
    return "set"


async def served(gate: Any, *takes: float) -> list[int]:
    """The order in which children come through a gate: a lock, a semaphore, a limiter."""
    order: list[int] = []

    async def child(number: int, units: float) -> None:
        async with gate:
            await work("inside", units)
            order.append(number)

    async with anyio.create_task_group() as group:
        for number, units in enumerate(takes):
            group.start_soon(child, number, units)
    return order


@primitive("anyio.Lock", gives=[0, 1, 2])
async def anyio_lock() -> list[int]:
    return await served(anyio.Lock(), 3, 2, 1)


@primitive("anyio.Semaphore", gives=[1, 0, 2])
async def anyio_semaphore() -> list[int]:
    return await served(anyio.Semaphore(2), 3, 1, 5)


@primitive("anyio.CapacityLimiter", gives=[1, 0, 2])
async def anyio_capacity_limiter() -> list[int]:
    return await served(anyio.CapacityLimiter(2), 3, 1, 5)


@primitive("anyio.Condition", gives=["a", "b"])
async def anyio_condition() -> list[str]:
    condition, seen = anyio.Condition(), list[str]()

    async def waiter(name: str) -> None:
        async with condition:
            await condition.wait()
            seen.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(waiter, "a")
        group.start_soon(waiter, "b")
        await work("prepare")
        async with condition:
            condition.notify_all()
    return seen


@primitive("anyio.create_memory_object_stream", gives=["item-0", "item-1", "item-2"])
async def anyio_memory_stream() -> list[str]:
    send, receive = anyio.create_memory_object_stream[str](1)

    async def produce() -> None:
        async with send:
            for number in range(3):
                await send.send(await work(f"item-{number}"))

    async with anyio.create_task_group() as group, receive:
        group.start_soon(produce)
        return [item async for item in receive]
    return []
