"""A workflow for each primitive of asyncio."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Any

from durably import StepError, as_completed
from tests.primitives.primitive import SLOW, UNIT, broken, primitive, work

__all__: list[str] = []


async def two(name: str, first: float, second: float) -> str:
    """Two steps, one after the other."""
    return await work(f"{name}1", first) + await work(f"{name}2", second)


def tasks_of(**takes: float) -> list["asyncio.Task[str]"]:
    return [asyncio.create_task(work(name, units)) for name, units in takes.items()]


@primitive("asyncio.sleep", gives="slept", waits="timer 3")
async def asyncio_sleep() -> str:
    await asyncio.sleep(3 * UNIT)
    return "slept"


@primitive("asyncio.sleep(0)", gives=[0, 10, 1, 11, 2, 12], waits=None)
async def asyncio_sleep_zero() -> list[int]:
    seen: list[int] = []

    async def count(start: int) -> None:
        for number in range(3):
            seen.append(start + number)
            await asyncio.sleep(0)

    await asyncio.gather(count(0), count(10))
    return seen


@primitive("asyncio.gather", gives=["a1a2", "b1b2", "c1c2"])
async def asyncio_gather() -> list[str]:
    return list(await asyncio.gather(two("a", 3, 3), two("b", 1, 4), two("c", 2, 1)))


@primitive("asyncio.gather(return_exceptions=True)", gives=["StepError", "b"])
async def asyncio_gather_exceptions() -> list[str]:
    results = await asyncio.gather(broken(), work("b", 2), return_exceptions=True)
    return [each if isinstance(each, str) else type(each).__name__ for each in results]


@primitive("asyncio.wait(FIRST_COMPLETED)", gives=["b"])
async def asyncio_wait_first() -> list[str]:
    done, pending = await asyncio.wait(tasks_of(a=SLOW, b=1, c=SLOW), return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return [task.result() for task in done]


@primitive("asyncio.wait(FIRST_EXCEPTION)", gives=["b", "broken"])
async def asyncio_wait_exception() -> list[str]:
    tasks = [*tasks_of(a=SLOW, b=1), asyncio.create_task(broken(2))]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    return [task.result() if task.exception() is None else "broken" for task in tasks if task in done]


@primitive("asyncio.wait(ALL_COMPLETED), its sets iterated", gives=12)
async def asyncio_wait_all() -> int:
    done, _ = await asyncio.wait([asyncio.create_task(work(f"s{number}")) for number in range(12)])
    after = [await work(f"after-{task.result()}") for task in done]
    return len(after)


@primitive("asyncio.wait(timeout=)", gives=[0, 1], waits="timer 3")
async def asyncio_wait_timeout() -> list[int]:
    done, pending = await asyncio.wait(tasks_of(a=SLOW), timeout=3 * UNIT)
    return [len(done), len(pending)]


@primitive("asyncio.wait_for, in time", gives="fast", waits="timer 1000", across_3_11=False)
async def asyncio_wait_for() -> str:
    return await asyncio.wait_for(work("fast"), SLOW * UNIT)


@primitive("asyncio.wait_for, late", gives="late", waits="timer 3", across_3_11=False)
async def asyncio_wait_for_late() -> str:
    try:
        return await asyncio.wait_for(work("slow", SLOW), 3 * UNIT)
    except TimeoutError:
        return "late"


@primitive("asyncio.timeout", gives="late", waits="timer 3")
async def asyncio_timeout() -> str:
    try:
        async with asyncio.timeout(3 * UNIT):
            return await work("slow", SLOW)
    except TimeoutError:
        return "late"


@primitive("asyncio.timeout, rescheduled", gives="late", waits="timer 1000")
async def asyncio_timeout_rescheduled() -> str:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(SLOW * UNIT) as limit:
            await work("fast")
            limit.reschedule(loop.time() + 2 * UNIT)
            return await work("slow", SLOW)
    except TimeoutError:
        return "late"


@primitive("asyncio.timeout_at", gives="late", waits="timer 3")
async def asyncio_timeout_at() -> str:
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + 3 * UNIT):
            return await work("slow", SLOW)
    except TimeoutError:
        return "late"


@primitive("asyncio.TaskGroup", gives=["a1a2", "b1b2"])
async def asyncio_task_group() -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(two("a", 2, 2)), group.create_task(two("b", 1, 1))]
    return [task.result() for task in tasks]


@primitive("asyncio.TaskGroup, aborted, with cleanup", gives=list(range(12)))
async def asyncio_task_group_abort() -> list[int]:
    order: list[int] = []

    async def sibling(number: int) -> None:
        try:
            await work("wait", SLOW)
        except asyncio.CancelledError:
            order.append(number)
            await work(f"cleanup-{len(order)}")
            raise

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(sibling(number))
            group.create_task(broken())
    except* StepError:
        pass
    return order


@primitive("asyncio.create_task", gives=["b", "a"])
async def asyncio_create_task() -> list[str]:
    task = asyncio.create_task(work("a", 2))
    return [await work("b"), await task]


@primitive("asyncio.Task.cancel", gives=["canceled", "undone"])
async def asyncio_task_cancel() -> list[str]:
    async def compensated() -> str:
        try:
            return await work("slow", SLOW)
        except asyncio.CancelledError:
            return await work("undone")

    plain, careful = asyncio.create_task(work("slow", SLOW)), asyncio.create_task(compensated())
    await work("first")
    plain.cancel()
    careful.cancel()
    await asyncio.wait([plain, careful])
    return ["canceled" if plain.cancelled() else "?", await careful]


async def through(queue: "asyncio.Queue[Any]") -> list[Any]:
    """Three items with a step before each, taken out when all are in."""

    async def produce() -> None:
        for number in (2, 3, 1):
            await work(f"item-{number}")
            await queue.put(number)

    producing = asyncio.create_task(produce())
    first = await queue.get()
    await producing
    return [first, await queue.get(), await queue.get()]


@primitive("asyncio.Queue", gives=[2, 3, 1])
async def asyncio_queue() -> list[Any]:
    return await through(asyncio.Queue())


@primitive("asyncio.Queue(maxsize), join, task_done", gives=[0, 1, 2, 3])
async def asyncio_queue_join() -> list[int]:
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    seen: list[int] = []

    async def consume() -> None:
        while True:
            number = await queue.get()
            await work(f"consume-{number}")
            seen.append(number)
            queue.task_done()

    consumer = asyncio.create_task(consume())
    for number in range(4):
        await queue.put(number)
    await queue.join()
    consumer.cancel()
    return seen


@primitive("asyncio.PriorityQueue", gives=[2, 1, 3])
async def asyncio_priority_queue() -> list[Any]:
    return await through(asyncio.PriorityQueue())


@primitive("asyncio.LifoQueue", gives=[2, 1, 3])
async def asyncio_lifo_queue() -> list[Any]:
    return await through(asyncio.LifoQueue())


@primitive("asyncio.Queue.shutdown", gives="shut down", since=(3, 13))
async def asyncio_queue_shutdown() -> str:
    queue: Any = asyncio.Queue[None]()

    async def close() -> None:
        await work("close")
        queue.shutdown()

    closing = asyncio.create_task(close())
    try:
        await queue.get()
    except Exception as error:  # noqa: BLE001 - QueueShutDown, which 3.12 has not
        await closing
        return "shut down" if type(error).__name__ == "QueueShutDown" else "?"
    return "?"


@primitive("asyncio.Event", gives="set")
async def asyncio_event() -> str:
    event = asyncio.Event()

    async def release() -> None:
        await work("release")
        event.set()

    releasing = asyncio.create_task(release())
    await event.wait()
    await releasing
    return "set"


async def one_by_one(lock: Any) -> list[str]:
    """Who comes first is served first, however long it takes."""
    order: list[str] = []

    async def enter(name: str, takes: float) -> None:
        async with lock:
            order.append(await work(name, takes))

    await asyncio.gather(enter("a", 3), enter("b", 2), enter("c", 1))
    return order


@primitive("asyncio.Lock", gives=["a", "b", "c"])
async def asyncio_lock() -> list[str]:
    return await one_by_one(asyncio.Lock())


@primitive("asyncio.Semaphore", gives=["b", "a", "c"])
async def asyncio_semaphore() -> list[str]:
    semaphore, order = asyncio.Semaphore(2), list[str]()

    async def enter(name: str, takes: float) -> None:
        async with semaphore:
            order.append(await work(name, takes))

    await asyncio.gather(enter("a", 2), enter("b", 1), enter("c", 4))
    return order


@primitive("asyncio.BoundedSemaphore", gives=["a", "b", "c"])
async def asyncio_bounded_semaphore() -> list[str]:
    return await one_by_one(asyncio.BoundedSemaphore(1))


@primitive("asyncio.Condition", gives=["a", "b", "ready"])
async def asyncio_condition() -> list[str]:
    condition, seen = asyncio.Condition(), list[str]()
    ready = False

    async def waiter(name: str) -> None:
        async with condition:
            await condition.wait()
            seen.append(name)

    async def for_it() -> None:
        async with condition:
            await condition.wait_for(lambda: ready)
            seen.append("ready")

    tasks = [asyncio.create_task(each) for each in (waiter("a"), waiter("b"), for_it())]
    await work("prepare")
    async with condition:
        ready = True
        condition.notify_all()
    await asyncio.gather(*tasks)
    return seen


@primitive("asyncio.Barrier", gives=[0, 1, 2])
async def asyncio_barrier() -> list[int]:
    barrier = asyncio.Barrier(3)

    async def arrive(takes: float) -> int:
        await work("way", takes)
        return await barrier.wait()

    return list(await asyncio.gather(arrive(1), arrive(2), arrive(3)))


@primitive("asyncio.shield", gives=["late", "kept"], waits="timer 3")
async def asyncio_shield() -> list[str]:
    task, seen = asyncio.create_task(work("kept", 30)), list[str]()
    try:
        async with asyncio.timeout(3 * UNIT):
            await asyncio.shield(task)
    except TimeoutError:
        seen.append("late")
    return [*seen, await task]


@primitive("asyncio.as_completed of tasks", gives=["b", "c", "a"])
async def asyncio_as_completed() -> list[str]:
    return [await next_one for next_one in asyncio.as_completed(tasks_of(a=5, b=1, c=3))]


@primitive("asyncio.as_completed of tasks, async for", gives=["b", "c", "a"], since=(3, 13))
async def asyncio_as_completed_async() -> list[str]:
    completed: Any = asyncio.as_completed(tasks_of(a=5, b=1, c=3))
    return [await task async for task in completed]


@primitive("durably.as_completed of coroutines", gives=["b", "c", "a"])
async def durably_as_completed() -> list[str]:
    return [value async for value in as_completed([work("a", 5), work("b", 1), work("c", 3)])]


@primitive("durably.as_completed, awaited one by one", gives=["b", "c", "a"])
async def durably_as_completed_one_by_one() -> list[str]:
    return [await next_one for next_one in as_completed([work("a", 5), work("b", 1), work("c", 3)])]


@primitive("async generators", gives=["0", "1", "2", "closed"])
async def async_generators() -> list[str]:
    seen: list[str] = []

    async def numbers() -> AsyncGenerator[str]:
        try:
            for number in range(5):
                yield await work(str(number))
        finally:
            seen.append(await work("closed"))

    generator = numbers()
    async for number in generator:
        seen.append(number)
        if number == "2":
            break
    await generator.aclose()
    return seen


@primitive("async context managers", gives=["open-a", "open-b", "inside", "close-b", "close-a"])
async def async_context_managers() -> list[str]:
    seen: list[str] = []

    @asynccontextmanager
    async def resource(name: str) -> AsyncGenerator[None]:
        seen.append(await work(f"open-{name}"))
        try:
            yield
        finally:
            seen.append(await work(f"close-{name}"))

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(resource("a"))
        await stack.enter_async_context(resource("b"))
        seen.append(await work("inside"))
    return seen


whose: ContextVar[str] = ContextVar("whose", default="nobody's")


@primitive("context variables", gives=[["a", "b"], "nobody's"])
async def context_variables() -> list[Any]:
    async def branch(name: str, takes: float) -> str:
        whose.set(name)
        await work(name, takes)
        return whose.get()

    return [list(await asyncio.gather(branch("a", 2), branch("b", 1))), whose.get()]


@primitive("loop.create_future, asyncio.Future", gives=["x", "y"])
async def asyncio_future() -> list[str]:
    ours: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    plain: asyncio.Future[str] = asyncio.Future()

    async def answer() -> None:
        ours.set_result(await work("x"))
        plain.set_result(await work("y"))

    answering = asyncio.create_task(answer())
    results = [await ours, await plain]
    await answering
    return results


@primitive("loop.call_later, call_at, call_soon", gives=["soon", "later", "at"], waits="timer 2")
async def asyncio_call_later() -> list[str]:
    loop, seen = asyncio.get_running_loop(), list[str]()
    loop.call_later(2 * UNIT, seen.append, "later")
    loop.call_at(loop.time() + 4 * UNIT, seen.append, "at")
    loop.call_later(SLOW * UNIT, seen.append, "never").cancel()
    loop.call_soon(seen.append, "soon")
    await asyncio.sleep(6 * UNIT)
    return seen


@primitive("loop.time", gives=True, waits="timer 3")
async def asyncio_loop_time() -> bool:
    loop = asyncio.get_running_loop()
    before = loop.time()
    await asyncio.sleep(3 * UNIT)
    return loop.time() - before >= 3 * UNIT
