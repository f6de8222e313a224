"""What a workflow's code may call: deterministic time, randomness and ids, and where the rest belongs."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

import durably
from durably import DurablyError, RunFailed, current, step, workflow
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)
"""Where the test's clock begins."""


@step
async def note(text: str) -> str:
    return text


@workflow
async def tells_the_time() -> list[str]:
    found = [durably.now()]
    await durably.sleep(timedelta(minutes=5))
    found.append(durably.now())
    await durably.sleep(0.5)
    found.append(durably.now())
    await durably.sleep_until(START + timedelta(hours=1))
    found.append(durably.now())
    await durably.sleep_until(START)  # has passed
    found.append(durably.now())
    return [str(each - START) for each in found]


@workflow
async def draws() -> list[str]:
    """Some before a step and some behind it."""
    found = [str(durably.random().random()), str(durably.uuid4())]
    await note("a")
    await asyncio.sleep(1)
    return [*found, str(durably.random().randint(0, 10**9)), str(durably.uuid4())]


@pytest.mark.parametrize("max_parked", [0, 100])
async def test_time_is_that_of_what_happened_last(max_parked: int) -> None:
    async with TestEngine(workflows=[tells_the_time], max_parked=max_parked) as engine:
        run = await engine.start(tells_the_time)
        assert await run.result() == ["0:00:00", "0:05:00", "0:05:00.500000", "1:00:00", "1:00:00"]
        assert engine.clock.now() == START + timedelta(hours=1)


@pytest.mark.parametrize("max_parked", [0, 100])
async def test_randomness_is_the_same_on_every_replay(max_parked: int) -> None:
    async with TestEngine(workflows=[draws], max_parked=max_parked) as engine:
        run = await engine.start(draws)
        await engine.clock.advance(0.5)
        await engine.restart()
        first = await run.result()
        second = await (await engine.start(draws)).result()
        await engine.replay_finished()
    assert not set(first) & set(second), "each run has its own"
    assert [UUID(each).version for each in (first[1], first[3])] == [4, 4]
    assert first[1] != first[3]


async def test_the_same_seeds_hold_for_the_next_incarnation() -> None:
    """DESIGN section 3: with the first one's start time and seeds."""
    seen: list[tuple[datetime, float]] = []

    @workflow
    async def fails_once() -> None:
        seen.append((durably.now(), durably.random().random()))
        if current().attempt == 0:
            raise ConnectionError

    async with TestEngine(workflows=[fails_once], max_parked=100) as engine:
        await (await engine.start(fails_once)).result()
    assert seen == [seen[0]] * 2


@pytest.mark.parametrize("duration", [-1, float("nan"), timedelta(seconds=-1)])
async def test_a_negative_duration_is_a_mistake(duration: Any) -> None:
    @workflow(retries=0)
    async def sleeps() -> None:
        await durably.sleep(duration)

    async with TestEngine(workflows=[sleeps]) as engine:
        with pytest.raises(RunFailed, match="ValueError"):
            await (await engine.start(sleeps)).result()


async def test_sleep_until_wants_a_time_zone() -> None:
    @workflow(retries=0)
    async def sleeps() -> None:
        await durably.sleep_until(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the mistake

    async with TestEngine(workflows=[sleeps]) as engine:
        with pytest.raises(RunFailed, match="has no time zone"):
            await (await engine.start(sleeps)).result()


@pytest.mark.parametrize("call", [durably.now, durably.random, durably.uuid4], ids=lambda each: each.__name__)
async def test_outside_of_a_workflow_it_says_where_it_belongs(call: Callable[[], Any]) -> None:
    with pytest.raises(DurablyError, match="belongs in the body of a workflow; here no workflow is running"):
        call()


async def test_in_a_step_it_says_so_too() -> None:
    @step(retries=0)
    async def looks() -> str:
        return str(durably.now())

    @workflow
    async def asks() -> str:
        return await looks()

    async with TestEngine(workflows=[asks]) as engine:
        with pytest.raises(RunFailed, match="belongs in the body of a workflow"):
            await (await engine.start(asks)).result()


async def test_sleep_in_a_step_is_asyncio_sleep() -> None:
    await durably.sleep(0)


@workflow
async def child() -> None: ...


BELONGS_IN_A_BODY: list[tuple[str, Callable[[], Any]]] = [
    ("wait_for_event", lambda: durably.wait_for_event("x")),
    ("wait_for_signal", lambda: durably.wait_for_signal("x", type=str)),
    ("send_event", lambda: durably.send_event(durably.Event("x"))),
    ("start_child", lambda: durably.start_child(child)),
    ("signal_run", lambda: durably.signal_run("r", "x")),
    ("publish", lambda: durably.publish(1)),
    ("patched", lambda: durably.patched("x")),
    ("deprecate_patch", lambda: durably.deprecate_patch("x")),
    ("continue_as_new", durably.continue_as_new),
]


@pytest.mark.parametrize(("name", "call"), BELONGS_IN_A_BODY, ids=[name for name, _ in BELONGS_IN_A_BODY])
async def test_what_concerns_a_run_says_where_it_belongs(name: str, call: Callable[[], Any]) -> None:
    async def calls() -> None:
        result = call()
        if asyncio.iscoroutine(result):
            await result

    with pytest.raises(DurablyError, match=rf"durably\.{name}\(\) belongs in the body of a workflow"):
        await calls()


@pytest.mark.parametrize(
    "call",
    [
        lambda: durably.wait_for_event("x", timeout=-1),
        lambda: durably.wait_for_event("x", timeout=timedelta(seconds=-1)),
        lambda: durably.wait_for_event("x", lookback=timedelta(seconds=-1)),
        lambda: durably.wait_for_event(""),
        lambda: durably.wait_for_signal("x", timeout=float("nan")),
        lambda: durably.wait_for_signal(""),
        lambda: durably.signal_run("r", ""),
        lambda: durably.publish(1, topic=""),
    ],
)
async def test_what_makes_no_sense_is_a_value_error(call: Callable[[], Any]) -> None:
    @workflow(retries=0)
    async def mistaken() -> None:
        await call()

    async with TestEngine(workflows=[mistaken]) as engine:
        with pytest.raises(RunFailed, match="ValueError"):
            await (await engine.start(mistaken)).result()
