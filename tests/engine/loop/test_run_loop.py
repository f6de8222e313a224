"""The loop of one instance: what goes in and comes out, how it ends, and what it costs."""

import asyncio
import gc
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextvars import Context, ContextVar
from typing import Any

import pytest

from durably.engine.loop.run_loop import CommandFuture, RunLoop, Spin

START_US = 1_800_000_000_000_000

Body = Callable[[RunLoop], Coroutine[Any, Any, Any]]
Start = Callable[..., RunLoop]
Keys = Callable[[Iterable[Any]], list[str]]


async def nothing(_: RunLoop) -> None: ...


async def one_step(loop: RunLoop) -> None:
    await loop.call("a", None)


def test_commands_are_handed_out_once_in_order(started: Start) -> None:
    async def body(loop: RunLoop) -> Any:
        return await asyncio.gather(loop.call("a", "first"), loop.call("b", "second"))

    loop = started(body)
    a, b = loop.drive()
    assert isinstance(a, CommandFuture)
    assert isinstance(b, CommandFuture)
    assert (a.command, b.command) == ("first", "second")
    assert loop.pending == {"0/a#0": a, "0/b#0": b}
    assert loop.drive() == []
    assert loop.resolve("0/b#0", 2)
    assert loop.drive() == []
    assert loop.resolve("0/a#0", 1)
    assert loop.drive() == []
    assert loop.outcome() == [1, 2]
    assert not loop.resolve("0/a#0", 1)
    assert not loop.reject("0/a#0", ValueError())
    assert not loop.fire("0/timer#0")


def test_what_is_asked_for_and_taken_back_in_one_activation_never_happened(started: Start, keys: Keys) -> None:
    async def body(loop: RunLoop) -> None:
        seen = loop.call("seen", None)
        timer = loop.call_later(9, print)
        loop.call("unseen", None).cancel()
        loop.call_later(9, print).cancel()
        await asyncio.sleep(1)
        seen.cancel()
        timer.cancel()
        timer.cancel()
        loop.call("unseen", None).cancel()

    loop = started(body)
    assert keys(loop.drive()) == ["0/seen#0", "0/timer#0", "0/timer#2"]
    assert loop.fire("0/timer#2")
    assert keys(loop.drive()) == ["-0/seen#0", "-0/timer#0"]
    assert loop.pending == {}
    assert loop.timers == {}


def test_a_cancel_takes_effect_at_once_and_gives_its_command(started: Start, keys: Keys) -> None:
    async def body(loop: RunLoop) -> str:
        try:
            await loop.call("work", None)
        except asyncio.CancelledError as error:
            await loop.call("compensate", None)
            return str(error)
        return "?"

    loop = started(body)
    loop.drive()
    assert loop.cancel_root("enough")
    assert not loop.resolve("0/work#0", "too late")
    commands = loop.drive()
    assert keys(commands) == ["-0/work#0", "0/compensate#0"]
    assert not loop.ended
    assert loop.resolve("0/compensate#0", None)
    loop.drive()
    assert loop.outcome() == "enough"
    assert not loop.cancel_root()


def test_a_fired_timer_is_not_taken_back(started: Start) -> None:
    async def body(loop: RunLoop) -> None:
        later = loop.call_later(2, print, "must not run")
        loop.call_later(1, later.cancel)
        await loop.call("wait", None)

    loop = started(body)
    loop.drive()
    assert loop.fire("0/timer#1")
    assert loop.fire("0/timer#0")
    assert loop.drive() == []


def test_a_loop_runs_one_body(started: Start) -> None:
    loop = started(nothing)
    with pytest.raises(RuntimeError, match="one body"):
        loop.start(nothing(loop), Context())
    with pytest.raises(RuntimeError, match="nothing was started"):
        RunLoop(7, START_US).outcome()
    loop.evict()
    with pytest.raises(RuntimeError, match="one body"):
        loop.start(nothing(loop), Context())


# -- how a body ends


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError("x")])
@pytest.mark.parametrize("where", ["at once", "after a step"])
def test_what_a_body_raises_is_its_outcome(started: Start, error: BaseException, where: str) -> None:
    """SystemExit and KeyboardInterrupt, too, do not blow through `drive` (DESIGN rule 6)."""

    async def body(loop: RunLoop) -> None:
        if where == "after a step":
            await loop.call("a", None)
        raise error

    loop = started(body)
    if loop.drive():
        loop.resolve("0/a#0", None)
        loop.drive()
    assert loop.ended
    with pytest.raises(type(error)):
        loop.outcome()


def test_an_error_of_a_step_is_raised_where_it_is_awaited(started: Start) -> None:
    async def body(loop: RunLoop) -> str:
        try:
            await loop.call("a", None)
        except ValueError as error:
            return f"caught {error}"
        return "?"

    loop = started(body)
    loop.drive()
    assert loop.reject("0/a#0", ValueError("it"))
    loop.drive()
    assert loop.outcome() == "caught it"


def test_errors_in_callbacks_and_lost_tasks_are_complaints(started: Start) -> None:
    async def fail() -> None:
        raise ValueError("lost")

    async def body(loop: RunLoop) -> None:
        loop.call_soon(lambda: 1 / 0)
        asyncio.create_task(fail())  # noqa: RUF006 - the loop holds it
        await loop.call("a", None)

    loop = started(body)
    loop.drive()
    loop.evict()
    gc.collect()
    assert len(loop.complaints) == 2
    assert "ZeroDivisionError: division by zero" in loop.complaints[0]
    assert loop.complaints[1] == "RunTask exception was never retrieved: ValueError: lost"


def test_complaints_are_bounded(started: Start) -> None:
    async def body(loop: RunLoop) -> None:
        for _ in range(100):
            loop.call_soon(lambda: 1 / 0)

    loop = started(body)
    loop.drive()
    assert len(loop.complaints) == 20


def test_the_other_tasks_are_canceled_once_in_the_order_of_their_creation(started: Start, keys: Keys) -> None:
    """And driven to their end, with the steps of their cleanup, before the run has ended (DESIGN rule 15)."""
    seen: list[str] = []

    async def other(loop: RunLoop, name: str) -> None:
        try:
            await loop.call("wait", None)
        except asyncio.CancelledError:
            seen.append(f"{name} canceled")
            await loop.call("cleanup", None)
            seen.append(f"{name} cleaned up")

    async def body(loop: RunLoop) -> str:
        loop.tasks = [asyncio.create_task(other(loop, name)) for name in "abc"]  # type: ignore[attr-defined]
        await loop.call("first", None)
        return "result"

    loop = started(body)
    loop.drive()
    loop.resolve("0/first#0", None)
    assert keys(loop.drive()) == [
        *(f"-0/{i}/wait#0" for i in range(3)),
        *(f"0/{i}/cleanup#0" for i in range(3)),
    ]
    assert seen == ["a canceled", "b canceled", "c canceled"]
    for number in (2, 0, 1):
        assert not loop.ended
        loop.resolve(f"0/{number}/cleanup#0", None)
        assert loop.drive() == []
    assert loop.ended
    assert seen[3:] == ["c cleaned up", "a cleaned up", "b cleaned up"]
    assert loop.outcome() == "result"


def test_tasks_created_by_a_cleanup_may_end_it_and_are_canceled_after_it(started: Start, keys: Keys) -> None:
    seen: list[str] = []

    async def undo(loop: RunLoop) -> None:
        await loop.call("undo", None)
        seen.append("undone")

    async def daemon(loop: RunLoop) -> None:
        try:
            await loop.call("forever", None)
        finally:
            seen.append("daemon ended")

    async def other(loop: RunLoop) -> None:
        try:
            await loop.call("wait", None)
        finally:
            asyncio.create_task(daemon(loop))  # noqa: RUF006 - the loop holds it
            await asyncio.create_task(undo(loop))

    async def body(loop: RunLoop) -> None:
        asyncio.create_task(other(loop))  # noqa: RUF006 - the loop holds it
        await asyncio.sleep(0)

    loop = started(body)
    assert keys(loop.drive()) == ["0/0/0/forever#0", "0/0/1/undo#0"]
    loop.resolve("0/0/1/undo#0", None)
    assert keys(loop.drive()) == ["-0/0/0/forever#0"]
    assert loop.ended
    assert seen == ["undone", "daemon ended"]


def test_generators_left_half_way_are_closed_in_the_order_of_their_start(started: Start, keys: Keys) -> None:
    """At the end of the run, in its context, and not whenever the garbage collector comes across them."""
    variable: ContextVar[str] = ContextVar("variable")
    seen: list[str] = []

    async def numbers(loop: RunLoop, name: str) -> AsyncIterator[int]:
        try:
            for number in range(3):
                yield number
        finally:
            await loop.call(f"close-{name}", None)
            seen.append(f"{name} closed in {variable.get()}")

    async def body(loop: RunLoop) -> None:
        variable.set("the body's context")
        for name in "ab":
            async for _ in numbers(loop, name):
                break
        gc.collect()
        await loop.call("after", None)

    loop = started(body)
    assert keys(loop.drive()) == ["0/after#0"]
    loop.resolve("0/after#0", None)
    assert keys(loop.drive()) == ["!0/close-a#0"]
    assert not loop.ended
    loop.resolve("!0/close-a#0", None)
    assert keys(loop.drive()) == ["!0/close-b#0"]
    loop.reject("!0/close-b#0", ValueError("not closed"))
    loop.drive()
    assert loop.ended
    assert seen == ["a closed in the body's context"]
    assert "not closed" in loop.complaints[0]


def test_what_is_done_is_forgotten(started: Start) -> None:
    """A long run does not keep every asyncio task and async generator it ever had."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    async def once() -> AsyncIterator[int]:
        yield 1

    async def child() -> None:
        generator = once()
        alive.update((generator, asyncio.current_task()))
        async for _ in generator:
            pass

    async def body(loop: RunLoop) -> None:
        for _ in range(1_000):
            await asyncio.create_task(child())
        await loop.call("a", None)

    loop = started(body)
    loop.drive()
    assert len(alive) < 20


# -- spinning


def test_a_body_that_spins_is_stopped(started: Start) -> None:
    async def spin() -> None:
        while True:  # noqa: ASYNC110 - the point
            await asyncio.sleep(0)

    async def body(loop: RunLoop) -> None:
        await loop.call("a", None)
        await asyncio.gather(nothing(loop), spin())

    loop = started(body)
    loop.drive()
    loop.resolve("0/a#0", None)
    with pytest.raises(Spin, match=r"ran 500 callbacks .* asyncio task 0/1: .*\.spin \(.*test_run_loop\.py:\d+\)"):
        loop.drive(max_callbacks=500)
    loop.evict()
    assert loop.drive() == []


def test_callbacks_that_spin_are_stopped(started: Start) -> None:
    async def body(loop: RunLoop) -> None:
        def again() -> None:
            loop.call_soon(again)

        again()
        await loop.call("a", None)

    loop = started(body)
    with pytest.raises(Spin, match=r"ran 100,000 callbacks .*again, a callback"):
        loop.drive()


def test_work_up_to_the_limit_is_no_spin(started: Start) -> None:
    async def body(_: RunLoop) -> None:
        for _turn in range(99):
            await asyncio.sleep(0)

    loop = started(body)
    loop.drive(max_callbacks=100)
    assert loop.ended


# -- many of them


def test_hashes_differ_between_instances_and_not_between_processes(started: Start) -> None:
    """Equal hashes would make asyncio's set of all tasks slower with every run that is parked."""

    async def body(loop: RunLoop) -> list[int]:
        futures = [loop.create_future(), loop.call("a", None), asyncio.create_task(nothing(loop))]
        return [hash(asyncio.current_task()), *map(hash, futures)]

    def task_hashes(salt: int) -> list[int]:
        loop = started(body, salt)
        loop.drive()
        hashes: list[int] = loop.outcome()
        return hashes

    seen = [number for salt in range(1_000) for number in task_hashes(salt)]
    assert len(set(seen)) == len(seen)
    assert task_hashes(2**32 - 1) == task_hashes(2**32 - 1)
    assert task_hashes(7)[0] == (7 * 2_654_435_761 << 24) + 1
    assert len({number % 2**24 for number in (task_hashes(salt)[0] for salt in range(9))}) == 1


def test_a_parked_instance_is_small(started: Start) -> None:
    """Under 4 kB, with its coroutine, its task and its pending step."""
    count = 500
    kept: list[RunLoop] = []
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for salt in range(count):
            loop = started(one_step, salt)
            loop.drive()
            kept.append(loop)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        assert (after - before) / count < 4_000
    finally:
        tracemalloc.stop()
    for loop in kept:
        loop.evict()
