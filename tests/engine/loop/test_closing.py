"""Eviction: the code of a run is thrown away, and does nothing any more (DESIGN rule 6)."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any

import pytest

from durably.engine.loop.run_loop import Evicted, RunLoop, RunTask, Spin

START_US = 1_800_000_000_000_000

Body = Callable[[RunLoop], Coroutine[Any, Any, Any]]
Start = Callable[..., RunLoop]


@contextmanager
def no_garbage(*types: type) -> Generator[None]:
    """Nothing of these types is left to the garbage collector."""
    gc.collect()
    gc.disable()
    before = sum(isinstance(thing, types) for thing in gc.get_objects())
    try:
        yield
        assert sum(isinstance(thing, types) for thing in gc.get_objects()) == before
    finally:
        gc.enable()


async def parked_in_a_step(loop: RunLoop) -> None:
    await loop.call("a", None)


async def parked_in_gather(loop: RunLoop) -> None:
    async def branch() -> None:
        await asyncio.wait_for(loop.call("a", None), 5)

    await asyncio.gather(branch(), asyncio.gather(branch(), branch()))


async def parked_in_a_group(loop: RunLoop) -> None:
    async with asyncio.TaskGroup() as group, asyncio.timeout(3):
        task = group.create_task(parked_in_a_step(loop))
        group.create_task(parked_in_gather(loop))
        await asyncio.shield(task)


async def parked_in_a_generator(loop: RunLoop) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        await loop.call("a", None)
        yield 2

    async for _ in numbers():
        pass


async def parked_in_wait(loop: RunLoop) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()
    await asyncio.wait([asyncio.create_task(queue.get()) for _ in range(3)], timeout=5)
    await loop.call("a", None)


@pytest.mark.parametrize(
    "body", [parked_in_a_step, parked_in_gather, parked_in_a_group, parked_in_a_generator, parked_in_wait]
)
@pytest.mark.parametrize("drive", [True, False])
def test_an_evicted_loop_is_freed_at_once(started: Start, body: Body, drive: bool) -> None:
    """By counting references alone, whatever it waited in, started or not."""
    with no_garbage(RunLoop, asyncio.Future):
        loop = started(body)
        loop.owner = [loop]
        if drive:
            assert loop.drive()
        loop.evict()
        loop.evict()
        assert loop.commands == []
        assert not loop.pending
        assert not loop.timers
        del loop


def test_eviction_runs_finally_and_nothing_else(started: Start) -> None:
    seen: list[str] = []

    async def body(loop: RunLoop) -> None:
        try:
            await loop.call("work", None)
        except asyncio.CancelledError:
            seen.append("except CancelledError")
        except Exception:  # noqa: BLE001 - what must not run
            seen.append("except Exception")
        finally:
            seen.append("finally")

    loop = started(body)
    loop.drive()
    loop.evict()
    assert seen == ["finally"]
    assert loop.evicted
    assert loop.drive() == []
    assert not loop.resolve("0/work#0", None)
    assert not loop.cancel_root()


async def call_a_step(loop: RunLoop) -> None:
    await loop.call("cleanup", None)


async def call_a_step_in_time(loop: RunLoop) -> None:
    await asyncio.wait_for(call_a_step(loop), 10)


async def call_steps(loop: RunLoop) -> None:
    await asyncio.gather(call_a_step(loop), call_a_step(loop))


async def call_steps_in_a_group(loop: RunLoop) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(call_a_step(loop))
        group.create_task(call_a_step(loop))


async def call_a_task(loop: RunLoop) -> None:
    await asyncio.create_task(call_a_step(loop))


async def sleep(_: RunLoop) -> None:
    await asyncio.sleep(1)


async def sleep_zero(_: RunLoop) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "cleanup",
    [call_a_step, call_a_step_in_time, call_steps, call_steps_in_a_group, call_a_task, sleep, sleep_zero],
)
def test_a_finally_that_waits_gets_no_further(
    started: Start, cleanup: Callable[[RunLoop], Awaitable[None]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor does it leave a coroutine that was never awaited, or anything else to complain of."""
    seen: list[str] = []

    async def body(loop: RunLoop) -> None:
        try:
            try:
                await loop.call("work", None)
            finally:
                seen.append("begin")
                await cleanup(loop)
                seen.append("went on")
        finally:
            seen.append("outer")
            await cleanup(loop)
            seen.append("went on")

    with no_garbage(RunLoop, asyncio.Future):
        loop = started(body)
        loop.drive()
        loop.evict()
        assert loop.commands == []
        assert loop.complaints == []
        del loop
    gc.collect()
    assert seen == ["begin", "outer"]
    assert capfd.readouterr() == ("", "")


def test_a_step_called_in_a_finally_raises_evicted(started: Start) -> None:
    seen: list[str] = []

    async def body(loop: RunLoop) -> None:
        try:
            await loop.call("work", None)
        finally:
            try:
                loop.call("cleanup", None)
            except Exception:  # noqa: BLE001 - what must not run
                seen.append("an Exception")
            except Evicted as error:
                seen.append(str(error))

    loop = started(body)
    loop.drive()
    loop.evict()
    assert seen == ["cleanup was called by a run's code that is being thrown away"]


async def swallow_around_a_step(loop: RunLoop) -> None:
    while True:
        try:
            await loop.call("work", None)
        except BaseException:  # noqa: BLE001, S112 - the point
            continue


async def swallow_around_a_sleep(_: RunLoop) -> None:
    while True:
        try:
            await asyncio.sleep(1)
        except:  # noqa: E722, S112 - the point
            continue


async def swallow_around_a_child(loop: RunLoop) -> None:
    while True:
        try:
            await asyncio.create_task(swallow_around_a_step(loop))
        except BaseException:  # noqa: BLE001, S112 - the point
            continue


async def swallow_in_a_generator(loop: RunLoop) -> None:
    async def numbers() -> AsyncIterator[int]:
        while True:
            try:
                yield await loop.call("work", None)
            except BaseException:  # noqa: BLE001, S112 - the point
                continue

    async for _ in numbers():
        pass


@pytest.mark.parametrize(
    "body", [swallow_around_a_step, swallow_around_a_sleep, swallow_around_a_child, swallow_in_a_generator]
)
def test_code_that_swallows_everything_is_evicted_all_the_same(
    started: Start, body: Body, capfd: pytest.CaptureFixture[str]
) -> None:
    with no_garbage(RunLoop, asyncio.Future):
        loop = started(body)
        assert loop.drive()
        loop.evict()
        assert loop.commands == []
        del loop
    assert capfd.readouterr() == ("", "")


def test_a_generator_left_half_way_is_closed_by_eviction(started: Start) -> None:
    seen: list[str] = []

    async def numbers(loop: RunLoop) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            seen.append("closing")
            await loop.call("cleanup", None)
            seen.append("went on")

    async def stubborn() -> AsyncIterator[int]:
        while True:
            try:
                yield 1
            except GeneratorExit:
                await asyncio.sleep(0)

    kept: list[Any] = []

    async def body(loop: RunLoop) -> None:
        async for _ in numbers(loop):
            break
        kept.append(stubborn())
        await anext(kept[0])
        await loop.call("work", None)

    loop = started(body)
    loop.drive()
    loop.evict()
    assert seen == ["closing"]


def test_a_finally_runs_in_its_task_and_context(started: Start) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    seen: list[Any] = []

    async def child(loop: RunLoop) -> None:
        token = variable.set("child")
        try:
            await loop.call("work", None)
        finally:
            task = asyncio.current_task()
            assert isinstance(task, RunTask)
            seen.append((task.path, variable.get(), asyncio.get_running_loop() is loop))
            variable.reset(token)  # ValueError in another context

    async def body(loop: RunLoop) -> None:
        variable.set("root")
        try:
            await asyncio.create_task(child(loop))
        except Exception as error:  # noqa: BLE001 - what must not run
            seen.append(error)
        finally:
            seen.append(variable.get())

    loop = started(body)
    loop.drive()
    loop.evict()
    assert seen == [("0/0", "child", True), "root"]


def test_the_youngest_task_is_closed_first(started: Start) -> None:
    seen: list[str] = []

    async def child(loop: RunLoop, name: str) -> None:
        try:
            await loop.call("work", None)
        finally:
            seen.append(name)

    async def body(loop: RunLoop) -> None:
        try:
            await asyncio.gather(child(loop, "a"), child(loop, "b"))
        finally:
            seen.append("root")

    loop = started(body)
    loop.drive()
    loop.evict()
    assert seen == ["b", "a", "root"]


def test_done_callbacks_of_users_do_not_run(started: Start) -> None:
    seen: list[str] = []

    async def body(loop: RunLoop) -> None:
        task = asyncio.create_task(parked_in_a_step(loop))
        task.add_done_callback(lambda _: seen.append("done"))
        loop.call("a", None).add_done_callback(lambda _: seen.append("done"))
        await task

    loop = started(body)
    loop.drive()
    loop.evict()
    assert seen == []


@pytest.mark.parametrize("state", ["never started", "not driven", "failed", "ended", "spinning"])
def test_eviction_is_legal_in_any_state(state: str) -> None:
    async def body(_: RunLoop) -> None:
        if state == "failed":
            raise ValueError
        while state == "spinning":  # noqa: ASYNC110 - the point
            await asyncio.sleep(0)

    with no_garbage(RunLoop, asyncio.Future):
        loop = RunLoop(7, START_US)
        if state != "never started":
            loop.start(body(loop), Context())
        if state == "spinning":
            with pytest.raises(Spin):
                loop.drive(max_callbacks=10)
        elif state != "not driven":
            loop.drive()
        loop.evict()
        loop.evict()
        with pytest.raises(RuntimeError, match="evicted"):
            loop.outcome()
        del loop


def test_a_loop_does_not_evict_itself(started: Start) -> None:
    async def body(loop: RunLoop) -> None:
        loop.evict()

    loop = started(body)
    loop.drive()
    with pytest.raises(RuntimeError, match="code that runs on it"):
        loop.outcome()
    loop.evict()
