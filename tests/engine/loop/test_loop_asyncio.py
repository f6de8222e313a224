"""asyncio as users write it, on a `RunLoop`: it works, it is durable, and it is the same in every process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from durably.engine.errors import Forbidden


async def sleep(_: Any) -> float:
    before = asyncio.get_running_loop().time()
    await asyncio.sleep(5)
    return asyncio.get_running_loop().time() - before


async def sleep_zero(_: Any) -> str:
    for _round in range(3):
        await asyncio.sleep(0)
    return "done"


async def gather(step: Any) -> list[Any]:
    seen: list[str] = []

    async def branch(name: str, *durations: float) -> str:
        for takes in durations:
            await step(name, takes)
            seen.append(name)
        return name

    results = await asyncio.gather(branch("a", 3, 3), branch("b", 1, 4), branch("c", 2, 1))
    return [results, seen]


async def gather_failure(step: Any) -> list[str]:
    steps: list[Coroutine[Any, Any, Any]] = [step("a", gives=KeyError()), step("b", 2, "b")]
    results = await asyncio.gather(*steps, return_exceptions=True)
    return [type(result).__name__ for result in results]


async def wait_for_late(step: Any) -> str:
    try:
        return await asyncio.wait_for(step("slow", 100), 5)
    except TimeoutError:
        return "late"


async def wait_for_in_time(step: Any) -> str:
    return await asyncio.wait_for(step("fast", 1, "in time"), 5)


async def timeout(step: Any) -> str:
    try:
        async with asyncio.timeout(2):
            await step("slow", 100)
    except TimeoutError:
        return "late"
    return "?"


async def timeout_at(step: Any) -> str:
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + 0.1):
            await step("slow", 100)
    except TimeoutError:
        return "late"
    return "?"


async def task_group(step: Any) -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(step(f"s{i}", 5 - i, i)) for i in range(5)]
    return [task.result() for task in tasks]


async def task_group_abort(step: Any) -> list[int]:
    """The siblings clean up with steps named by the order in which they come to it."""
    order: list[int] = []

    async def sibling(number: int) -> None:
        try:
            await step("wait", 50)
        except asyncio.CancelledError:
            order.append(number)
            await step(f"cleanup-{len(order)}")
            raise

    async def failing() -> None:
        await step("fail", gives=ValueError())

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(sibling(number))
            group.create_task(failing())
    except* ValueError:
        pass
    return order


async def queue_event_lock_semaphore(step: Any) -> int:
    queue: asyncio.Queue[int | None] = asyncio.Queue(2)
    event, lock, semaphore = asyncio.Event(), asyncio.Lock(), asyncio.Semaphore(2)
    got: list[int] = []

    async def produce() -> None:
        for number in range(5):
            await step("produce")
            await queue.put(number)
        await queue.put(None)
        event.set()

    async def consume() -> None:
        while (number := await queue.get()) is not None:
            async with lock, semaphore:
                await step("consume", 2)
                got.append(number)

    await asyncio.gather(produce(), consume(), event.wait())
    return sum(got)


async def queue_timeout(_: Any) -> str:
    try:
        await asyncio.wait_for(asyncio.Queue[int]().get(), 2)
    except TimeoutError:
        return "late"
    return "?"


async def condition_and_barrier(step: Any) -> list[str]:
    barrier, condition = asyncio.Barrier(3), asyncio.Condition()
    seen: list[str] = []

    async def waiter(name: str) -> None:
        await barrier.wait()
        async with condition:
            await condition.wait()
            seen.append(name)

    waiters = [asyncio.create_task(waiter(name)) for name in "ab"]
    await barrier.wait()
    await step("then")
    async with condition:
        condition.notify_all()
    await asyncio.wait(waiters)
    return seen


async def wait_first(step: Any) -> list[Any]:
    tasks = [asyncio.create_task(step(f"s{i}", takes, i)) for i, takes in enumerate((3, 1, 2))]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return [task.result() for task in done]


async def wait_timeout(step: Any) -> int:
    done, pending = await asyncio.wait([asyncio.create_task(step("slow", 9))], timeout=1.5)
    await asyncio.wait(pending)
    return len(done)


async def wait_and_iterate(step: Any) -> list[Any]:
    """Steps are called in the order of a set of tasks, then in that of a set of futures."""
    done, _ = await asyncio.wait([asyncio.create_task(step("s", 1, i)) for i in range(12)])
    for task in done:
        await step(f"after-{task.result()}")
    futures = {asyncio.get_running_loop().create_future() for _ in range(12)}
    for number, future in enumerate(sorted(futures, key=hash)):
        future.set_result(number)
    return [await step(f"future-{future.result()}", gives=future.result()) for future in futures]


async def as_completed_tasks(step: Any) -> list[Any]:
    tasks = [asyncio.create_task(step(f"s{i}", takes, i)) for i, takes in enumerate((3, 1, 2))]
    return [await next_one for next_one in asyncio.as_completed(tasks)]


async def shield(step: Any) -> Any:
    task = asyncio.ensure_future(step("kept", 5, "kept"))
    try:
        async with asyncio.timeout(1):
            await asyncio.shield(task)
    except TimeoutError:
        pass
    return await task


async def context_variables(_: Any) -> list[Any]:
    variable: ContextVar[int] = ContextVar("variable", default=-1)

    async def child(number: int) -> int:
        variable.set(number)
        await asyncio.sleep(1)
        return variable.get()

    return [await asyncio.gather(*(child(i) for i in range(4))), variable.get()]


async def abandoned_generator(step: Any) -> list[str]:
    seen: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(5):
                await step("number")
                yield number
        finally:
            seen.append("closing")
            await step("close")
            seen.append("closed")

    async for number in numbers():
        seen.append(str(number))
        break
    await step("after")
    return seen


async def cancel_compensates(step: Any) -> Any:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(1.5, task.cancel)
    try:
        await step("first")
        await step("second")
    except asyncio.CancelledError:
        return await step("compensate", gives="compensated")
    return "?"


Expected = Any

WORKFLOWS: dict[str, tuple[Callable[[Any], Any], Expected]] = {
    "sleep": (sleep, 5),
    "sleep(0)": (sleep_zero, "done"),
    "gather": (gather, [["a", "b", "c"], ["b", "c", "a", "c", "b", "a"]]),
    "gather, failure": (gather_failure, ["KeyError", "str"]),
    "wait_for, late": (wait_for_late, "late"),
    "wait_for, in time": (wait_for_in_time, "in time"),
    "timeout": (timeout, "late"),
    "timeout_at": (timeout_at, "late"),
    "TaskGroup": (task_group, [0, 1, 2, 3, 4]),
    "TaskGroup, abort": (task_group_abort, list(range(12))),
    "Queue, Event, Lock, Semaphore": (queue_event_lock_semaphore, 10),
    "Queue, timeout": (queue_timeout, "late"),
    "Condition, Barrier": (condition_and_barrier, ["b", "a"]),
    "wait, first": (wait_first, [1]),
    "wait, timeout": (wait_timeout, 0),
    "wait, iterated": (wait_and_iterate, None),
    "as_completed": (as_completed_tasks, [1, 2, 0]),
    "shield": (shield, "kept"),
    "context variables": (context_variables, [[0, 1, 2, 3], -1]),
    "async generator, abandoned": (abandoned_generator, ["0", "closing", "closed"]),
    "cancel": (cancel_compensates, "compensated"),
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_primitive(name: str, simulate: Any) -> None:
    """Each gives what it gives on asyncio's own loop, and its replay gives the same commands."""
    workflow, expected = WORKFLOWS[name]
    run = simulate(workflow)
    if run.error is not None:
        raise run.error
    assert expected is None or run.result == expected


def test_every_process_gives_the_same_commands(elsewhere: Any) -> None:
    """They have other string hashes, and other addresses."""
    first, *others = elsewhere(__file__)
    assert first.keys() == WORKFLOWS.keys()
    for other in others:
        assert other == first


def test_small_sets_are_iterated_over_in_the_same_order_whatever_the_salt(simulate: Any) -> None:
    """So that a fork, which has another run id, can take over a history."""
    runs = [simulate(wait_and_iterate, salt) for salt in (0, 1, 77, 2**32 - 1)]
    assert all(run.commands == runs[0].commands for run in runs)


@pytest.mark.parametrize(
    ("workflow", "commands"),
    [
        (sleep, [["timer 0/timer#0 5000000"], []]),
        (timeout, [["timer 0/timer#0 2000000", "call 0/slow#0"], ["cancel 0/slow#0"]]),
        (task_group, [[f"call 0/{i}/s{i}#0" for i in range(5)], [], [], [], [], []]),
        (wait_first, [[f"call 0/{i}/s{i}#0" for i in range(3)], ["cancel 0/0/s0#0", "cancel 0/2/s2#0"]]),
    ],
)
def test_commands(workflow: Any, commands: list[list[str]], simulate: Any) -> None:
    """What they are made of, activation by activation: `sleep(0)` is no timer, what is over is taken back."""
    assert simulate(workflow).commands == commands


def test_a_gathered_branch_keeps_its_own_results_whatever_the_order(simulate: Any) -> None:
    async def workflow(step: Any) -> Any:
        async def branch(number: int) -> list[Any]:
            return [await step("same", (number * 7) % 10 + 1, f"{number}.{i}") for i in range(2)]

        return await asyncio.gather(*(branch(number) for number in range(10)))

    assert simulate(workflow).result == [[f"{number}.{i}" for i in range(2)] for number in range(10)]


def test_tasks_made_by_hand_are_forbidden(simulate: Any) -> None:
    async def workflow(step: Any) -> None:
        await asyncio.Task(step("a"), loop=asyncio.get_running_loop())

    assert isinstance(simulate(workflow).error, Forbidden)


@pytest.mark.parametrize("inside", ["run", "outer future"])
def test_other_loops_are_refused_by_asyncio_itself(inside: str, simulate: Any) -> None:
    outer = asyncio.new_event_loop()
    future = outer.create_future()

    async def workflow(_: Any) -> None:
        if inside == "outer future":
            await future
        coroutine = asyncio.sleep(0)
        try:
            asyncio.run(coroutine)
        finally:
            coroutine.close()

    assert type(simulate(workflow).error) is RuntimeError
    outer.close()
