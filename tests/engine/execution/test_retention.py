import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from durably import Event, RunNotFound, workflow
from durably.engine.execution import retention
from durably.engine.testing import VirtualClock
from durably.store import Forget, Forgotten, MemoryStore, Result
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio
DAY = timedelta(days=1)
Jump = Callable[[TestEngine, float], None]


@workflow
async def quick() -> None: ...


@workflow(on="app/asked")
async def asked(event: Event) -> None: ...


@workflow
async def long(seconds: float) -> None:
    await asyncio.sleep(seconds)


def engine_that_keeps(days: int | None) -> TestEngine:
    retention = None if days is None else timedelta(days=days)
    return TestEngine(workflows=[quick, long, asked], auto=False, retention=retention)


async def test_ended_runs_are_deleted_after_their_time_and_open_ones_stay() -> None:
    async with engine_that_keeps(90) as engine:
        ended, sleeping = await engine.start(quick), await engine.start(long, 365 * 86_400.0)
        await engine.settle()
        await engine.clock.advance(89 * DAY)
        assert (await ended.info()).status == "SUCCEEDED"
        await engine.clock.advance(2 * DAY)
        await engine.settle()
        with pytest.raises(RunNotFound):
            await engine.get_run(ended.id)
        assert (await sleeping.info()).phase == "sleeping"


async def test_nothing_is_deleted_unless_asked_for() -> None:
    async with engine_that_keeps(None) as engine:
        ended = await engine.start(quick)
        await engine.settle()
        await engine.clock.advance(3650 * DAY)
        assert (await ended.info()).status == "SUCCEEDED"


async def test_more_than_one_commit_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    async with engine_that_keeps(1) as engine:
        for _ in range(5):
            await engine.start(quick)
        await engine.send(*(Event("app/asked") for _ in range(5)))
        await engine.settle()
        await engine.clock.advance(1.5 * DAY)
        await engine.settle()
        assert await engine.list_runs() == []
        assert await engine.core.store.events_since("app/asked", (0, 0), 10) == []


async def test_events_stay_while_an_open_run_may_look_back_to_them() -> None:
    async with engine_that_keeps(1) as engine:
        await engine.start(long, 30 * 86_400.0)
        await engine.send(Event("app/asked"))
        await engine.settle()
        await engine.clock.advance(2 * DAY)
        await engine.settle()
        assert len(await engine.core.store.events_since("app/asked", (0, 0), 10)) == 1


class OneByOne(MemoryStore):
    """Forgets one run at a time, as a store does where logs are long."""

    forgotten = 0

    def _forget(self, operation: Forget) -> Result:
        gone = super()._forget(Forget(operation.before_us, 1))
        assert isinstance(gone, Forgotten)
        self.forgotten += gone.runs
        return gone


async def test_it_goes_on_where_fewer_are_deleted_than_asked_for() -> None:
    store = OneByOne()
    engine = engine_that_keeps(1)
    engine.use_store(store)
    async with engine:
        for _ in range(5):
            await engine.start(quick)
        await engine.settle()
        await engine.clock.advance(timedelta(hours=25.5))  # it looks each hour
        await engine.settle()
        assert await engine.list_runs() == []


async def test_an_engine_that_stops_does_not_wait_for_all_that_is_old(jump: Jump) -> None:
    store = OneByOne()
    engine = engine_that_keeps(1)
    engine.use_store(store)
    async with engine:
        for _ in range(100):
            await engine.start(quick)
        await engine.settle()
        jump(engine, 1.5 * 86_400)
        clock = engine.core.clock
        assert isinstance(clock, VirtualClock)
    assert store.forgotten < 10
    assert clock.next_us() is None, "an engine that has stopped wakes nobody"
