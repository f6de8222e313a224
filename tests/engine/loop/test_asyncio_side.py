"""Time on a run's loop, and what asyncio offers that a run may not have."""

import asyncio
import concurrent.futures
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from durably.engine.errors import Forbidden
from durably.engine.loop.run_loop import RunLoop

START_US = 1_800_000_000_000_000

Body = Callable[[RunLoop], Coroutine[Any, Any, Any]]
Start = Callable[..., RunLoop]


async def nothing(_: RunLoop) -> None: ...


async def one_step(loop: RunLoop) -> None:
    await loop.call("a", None)


@pytest.mark.parametrize(
    ("delay", "delay_us"),
    [
        (0, 0),
        (-1, 0),
        (1.5, 1_500_000),
        (1.1, 1_100_000),  # 1.1 * 1e6 is 1100000.0000000002
        (0.1 + 0.2, 300_000),  # 0.30000000000000004
        (0.57, 570_000),  # 569999.9999999999
        (1e-6, 1),
        (1.2e-6, 2),
        (30 * 86_400.000001, 2_592_000_000_030),
        (float("inf"), 10**16),
    ],
)
def test_a_delay_is_whole_microseconds_rounded_up(delay: float, delay_us: int) -> None:
    loop = RunLoop(7, START_US)
    timer = loop.call_later(delay, print)
    assert (timer.delay_us, timer.due_us) == (delay_us, START_US + delay_us)
    assert loop.timers == {"!/timer#0": timer}


def test_a_delay_is_a_number() -> None:
    loop = RunLoop(7, START_US)
    with pytest.raises(ValueError, match="NaN"):
        loop.call_later(float("nan"), print)


@pytest.mark.parametrize(
    "delay_us", [0, 1, 7, 100_000, 200_000, 700_000, 47_171_364, 86_400_000_000, 2_592_000_000_001]
)
def test_call_at_gives_the_same_delay_at_any_time(delay_us: int) -> None:
    """asyncio.timeout adds a delay to loop.time(), in floats."""
    for start_us in range(START_US, START_US + 1_000):
        loop = RunLoop(7, start_us)
        timer = loop.call_at(loop.time() + delay_us / 1e6, print)
        assert (timer.delay_us, timer.due_us) == (delay_us, start_us + delay_us)
        assert loop.fire(timer.key)
        assert loop.now_us == start_us + delay_us
        assert loop.time() >= timer.when()


def test_time_is_the_owners_and_stands_still(started: Start) -> None:
    async def body(loop: RunLoop) -> list[float]:
        times = [loop.time()]
        await loop.call("a", None)
        times.append(loop.time())
        await asyncio.sleep(2)
        return [*times, loop.time()]

    loop = started(body)
    loop.drive()
    loop.now_us = START_US + 1_000_000
    loop.resolve("0/a#0", None)
    loop.drive()
    loop.now_us = START_US + 2_500_000  # earlier than the timer's due time, which is at 3 s
    assert loop.fire("0/timer#0")
    loop.drive()
    assert [time - START_US / 1e6 for time in loop.outcome()] == [0, 1, 3]


def test_a_late_timer_does_not_turn_the_time_back() -> None:
    loop = RunLoop(7, START_US)
    timer = loop.call_later(1, print)
    loop.now_us = START_US + 5_000_000
    loop.fire(timer.key)
    assert loop.now_us == START_US + 5_000_000


# -- what it refuses


IMPLEMENTED = {
    "call_at",
    "call_exception_handler",
    "call_later",
    "call_soon",
    "call_soon_threadsafe",
    "create_future",
    "create_task",
    "default_exception_handler",
    "get_debug",
    "get_exception_handler",
    "get_task_factory",
    "is_closed",
    "is_running",
    "time",
}


@pytest.mark.parametrize("name", sorted(set(dir(asyncio.AbstractEventLoop)) - IMPLEMENTED))
def test_every_other_method_of_an_event_loop_is_forbidden(name: str) -> None:
    """At once, and not as a coroutine that nobody awaits."""
    if name.startswith("_"):
        return
    with pytest.raises(Forbidden, match=rf"loop\.{name}\(\).*put the call in a step"):
        getattr(RunLoop(7, START_US), name)("some", "arguments", of="any kind")


def test_eager_tasks_are_forbidden(started: Start) -> None:
    async def body(loop: RunLoop) -> None:
        loop.create_task(nothing(loop), eager_start=True)

    loop = started(body)
    loop.drive()
    with pytest.raises(Forbidden, match="eager_start"):
        loop.outcome()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_eager_tasks_made_by_hand_are_forbidden(started: Start) -> None:
    async def child(loop: RunLoop) -> None:
        await loop.call("a", None)

    async def body(loop: RunLoop) -> None:
        await asyncio.Task(child(loop), loop=loop, eager_start=True)  # type: ignore[call-arg, unused-ignore]

    loop = started(body)
    assert loop.drive() == []
    with pytest.raises(Forbidden, match=r"asyncio\.create_task\(\)"):
        loop.outcome()


def test_tasks_made_in_tasks_made_by_hand_are_forbidden_without_a_warning(started: Start) -> None:
    async def child(loop: RunLoop) -> None:
        await asyncio.create_task(one_step(loop))

    async def body(loop: RunLoop) -> None:
        await asyncio.Task(child(loop), loop=loop)

    loop = started(body)
    loop.drive()
    with pytest.raises(Forbidden):
        loop.outcome()


def test_other_threads_cannot_reach_in(started: Start) -> None:
    loop = started(nothing)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        failure = threads.submit(loop.call_soon_threadsafe, print).exception()
    assert isinstance(failure, Forbidden)


def test_in_the_loops_own_thread_call_soon_threadsafe_is_call_soon(started: Start) -> None:
    async def body(loop: RunLoop) -> Any:
        future = loop.create_future()
        loop.call_soon_threadsafe(future.set_result, "called")
        return await future

    loop = started(body)
    loop.drive()
    assert loop.outcome() == "called"
