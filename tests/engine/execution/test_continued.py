"""Events and runs that go on as others: none falls between two, and none is given twice."""

import asyncio

import pytest

from durably import Event, continue_as_new, wait_for_event, workflow
from durably.engine.execution import inbox
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


@workflow
async def subscription(month: int = 0) -> str:
    if await wait_for_event("stop", timeout=100) is not None:
        return f"stopped in month {month}"
    if month == 3:
        return "never stopped"
    await asyncio.sleep(1)
    return continue_as_new(month + 1)


@workflow
async def ticks(seen: int = 0) -> int:
    if await wait_for_event("tick", timeout=100) is None:
        return seen
    return continue_as_new(seen + 1)


@pytest.mark.parametrize("max_parked", [0, 100])
async def test_an_event_between_two_runs_is_seen_by_the_second(max_parked: int) -> None:
    """It comes when the first no longer waits and the second is not there yet."""
    async with TestEngine(workflows=[subscription], max_parked=max_parked) as engine:
        run = await engine.start(subscription)
        await engine.clock.advance(100.5)
        await engine.send(Event("stop"))
        assert await run.result() == "stopped in month 1"


@pytest.mark.parametrize("max_parked", [0, 100])
async def test_each_event_is_given_to_one_run_of_the_chain(max_parked: int) -> None:
    """They all come at one moment, so that the time alone does not tell which of them were seen."""
    async with TestEngine(workflows=[ticks], max_parked=max_parked) as engine:
        run = await engine.start(ticks)
        await engine.quiesce()
        await engine.send(Event("tick"), Event("tick"))
        await engine.quiesce()
        await engine.restart()
        await engine.send(Event("tick"))
        assert await run.result() == 3


@workflow
async def one_at_a_time(seen: list[int]) -> list[int]:
    event = await wait_for_event("item", timeout=10)
    if event is None:
        return seen
    await asyncio.sleep(1)
    return continue_as_new([*seen, event.data["number"]])


@pytest.mark.parametrize("max_parked", [0, 100])
async def test_a_backlog_is_worked_off_over_many_runs(max_parked: int) -> None:
    async with TestEngine(workflows=[one_at_a_time], max_parked=max_parked) as engine:
        run = await engine.start(one_at_a_time, [])
        await engine.clock.advance(0.1)
        for number in range(5):
            await engine.send(Event("item", {"number": number}))
            await engine.clock.advance(0.01)
        assert await run.result() == [0, 1, 2, 3, 4]


@workflow
async def takes(count: int, left: bool = True) -> int:
    for taken in range(count):
        if await wait_for_event("item", timeout=1) is None:
            return taken
    return continue_as_new(1, left=False) if left else -1


async def test_events_beyond_what_is_remembered_are_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_HAD", 3)
    async with TestEngine(workflows=[takes], max_parked=100) as engine:
        run = await engine.start(takes, 8)
        await engine.quiesce()
        for number in range(8):
            await engine.send(Event("item", {"number": number}))
            await engine.clock.advance(0.01)
        assert await run.result() == 0
