"""Where a live run's code stands, parked in memory or evicted."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from durably import NondeterminismError, Run, step, wait_for_event, workflow
from durably.engine.body.parked import ParkedTask
from durably.engine.execution.stacks import stack_of
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@step
async def reserve(sku: str) -> str:
    return sku


async def watch(sku: str) -> None:
    await asyncio.sleep(3600)
    await reserve(sku)


@workflow
async def order(sku: str) -> None:
    await asyncio.sleep(60)
    async with asyncio.TaskGroup() as group:
        group.create_task(watch(sku))
        await wait_for_event("app/paid", match={"id": 1}, timeout=600)


@workflow("order")
async def changed(sku: str) -> None:
    await reserve(sku)


async def stack(engine: TestEngine, run: Run[None]) -> list[ParkedTask]:
    row = await engine.core.store.run(run.id)
    assert row is not None
    return await stack_of(engine.core, row.run, run.id)


@pytest.mark.parametrize("max_parked", [0, 10], ids=["evicted", "in memory"])
async def test_each_asyncio_task_with_its_line_and_what_it_waits_for(max_parked: int) -> None:
    async with TestEngine(workflows=[order], max_parked=max_parked) as engine:
        run = await engine.start(order, "lamp")
        await engine.clock.advance(100)
        root, child = await stack(engine, run)
        assert [(line.function, line.source) for line in root.stack] == [
            ("order", 'await wait_for_event("app/paid", match={"id": 1}, timeout=600)')
        ]
        [wait] = root.waits
        assert (wait.key, wait.since, wait.until) == (
            "0/event#0",
            BEGAN + timedelta(seconds=60),
            BEGAN + timedelta(seconds=660),
        )
        assert wait.what == "wait for event 'app/paid' (0/event#0) that matches {\"id\":1} for 10 min"
        assert (child.path, child.stack[-1].function, child.stack[-1].source) == (
            "0/0",
            "watch",
            "await asyncio.sleep(3600)",
        )
        assert child.waits[0].until == BEGAN + timedelta(seconds=3660)


async def test_looking_changes_nothing() -> None:
    async with TestEngine(workflows=[order]) as engine:
        run = await engine.start(order, "lamp")
        await engine.clock.advance(100)
        before = (await run.history()).to_json()
        await stack(engine, run)
        assert (await run.history()).to_json() == before
        await run.result()


async def test_none_when_it_has_ended() -> None:
    async with TestEngine(workflows=[order]) as engine:
        run = await engine.start(order, "lamp")
        await run.result()
        assert await stack(engine, run) == []


async def test_code_that_does_not_fit_says_so() -> None:
    async with TestEngine(workflows=[order]) as engine:
        run = await engine.start(order, "lamp")
        await engine.clock.advance(1)
        engine.workflows = (changed,)
        await engine.restart()
        with pytest.raises(NondeterminismError):
            await stack(engine, run)
