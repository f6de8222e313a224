"""Environments of events: what starts, what wakes, and where an id counts, in one store with one engine."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durably import (
    Engine,
    Event,
    EventConflict,
    RunConflict,
    Workflow,
    send_event,
    start_child,
    wait_for_event,
    workflow,
)
from durably.engine.engine import Run
from durably.store import MemoryStore, SqliteStore
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

ELSEWHERE = "staging"


@workflow(on="order/placed")
async def on_order(event: Event) -> str:
    return str(event.id)


@workflow
async def waits(name: str) -> Any:
    return (await wait_for_event(name)).data


@workflow
async def looks_back(name: str) -> Any:
    await asyncio.sleep(60)
    event = await wait_for_event(name, timeout=0)
    return None if event is None else event.data


@workflow
async def sends() -> list[str]:
    await send_event(Event("order/placed"))
    child = await start_child(waits, "never")
    return [child.id]


WORKFLOWS = (on_order, waits, looks_back, sends)


async def environments(engine: Engine, definition: Workflow[..., Any]) -> list[str]:
    """Of its runs, in the order in which they were created."""
    return [run.environment for run in reversed(await engine.list_runs(workflow=definition.name))]


@pytest.fixture(params=["memory", "sqlite"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TestEngine]:
    engine = TestEngine(workflows=WORKFLOWS)
    engine.use_store(MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "store.db"))
    async with engine:
        yield engine


async def test_what_is_registered_starts_in_the_environment_of_the_event(engine: TestEngine) -> None:
    await engine.intake.send([Event("order/placed")], ELSEWHERE)
    await engine.send(Event("order/placed"))
    assert await environments(engine, on_order) == [ELSEWHERE, "production"]
    for run in await engine.list_runs():
        await (await engine.get_run(run.id)).result(timeout=30)


async def test_an_event_wakes_only_runs_of_its_environment(engine: TestEngine) -> None:
    here = await engine.start(waits, "parcel")
    there = await engine.start(waits.options(environment=ELSEWHERE), "parcel")
    await engine.settle()
    await engine.intake.send([Event("parcel", {"of": ELSEWHERE})], ELSEWHERE)
    assert await there.result(timeout=30) == {"of": ELSEWHERE}
    assert (await here.info()).phase == "waiting"
    await engine.send(Event("parcel", {"of": "production"}))
    assert await here.result(timeout=30) == {"of": "production"}


async def test_an_id_counts_in_its_environment(engine: TestEngine) -> None:
    event = Event("order/placed", id="once")
    for environment in (ELSEWHERE, None, ELSEWHERE, None):
        assert await engine.intake.send([event], environment) == ["once"]
    assert await environments(engine, on_order) == [ELSEWHERE, "production"]
    other = Event("order/placed", {"n": 1}, id="once")
    for environment in (ELSEWHERE, None):
        with pytest.raises(EventConflict):
            await engine.intake.send([other], environment)
    assert await engine.intake.send([other], "development") == ["once"]


async def test_a_look_back_finds_events_of_the_runs_environment_only(engine: TestEngine) -> None:
    runs = [await engine.start(looks_back.options(environment=each), "parcel") for each in ("production", ELSEWHERE)]
    await engine.intake.send([Event("parcel", {"of": ELSEWHERE})], ELSEWHERE)
    assert [await run.result() for run in runs] == [None, {"of": ELSEWHERE}]


async def test_what_a_run_makes_belongs_where_it_does(engine: TestEngine) -> None:
    """Children, events, what those start, and reruns; and waits that are found after a restart."""
    run = await engine.start(sends.options(environment=ELSEWHERE))
    await run.result()
    [child] = [each for each in await engine.list_runs(workflow="waits") if each.parent == run.id]
    assert child.environment == ELSEWHERE
    assert await environments(engine, on_order) == [ELSEWHERE]
    assert (await (await run.rerun()).info()).environment == ELSEWHERE
    await engine.restart()
    await engine.intake.send([Event("never", {"n": 1})], "production")
    await engine.settle()
    assert (await (await engine.get_run(child.id)).info()).phase == "waiting"
    await engine.intake.send([Event("never", {"n": 1})], ELSEWHERE)
    assert await (await engine.get_run(child.id)).result(timeout=30) == {"n": 1}


async def test_forks_stay_where_the_run_was(engine: TestEngine) -> None:
    run = await engine.start(waits.options(environment=ELSEWHERE), "parcel")
    await engine.settle()
    await engine.send(Event("parcel", {"of": "production"}))
    await run.cancel()
    await engine.settle()
    forked = await run.fork(at=2)
    await engine.settle()
    assert ((await forked.info()).environment, (await forked.info()).phase) == (ELSEWHERE, "waiting")
    await engine.intake.send([Event("parcel", {"of": ELSEWHERE})], ELSEWHERE)
    assert await forked.result(timeout=30) == {"of": ELSEWHERE}


async def test_a_known_run_id_of_another_environment_is_a_conflict_that_tells_nothing(engine: TestEngine) -> None:
    await engine.start(waits.options(environment=ELSEWHERE, run_id="r"), "secret")
    assert (await engine.start(waits.options(environment=ELSEWHERE, run_id="r"), "secret")).id == "r"
    for name in ("secret", "other"):
        with pytest.raises(RunConflict, match="of another environment") as refused:
            await engine.start(waits.options(run_id="r"), name)
        assert "secret" not in str(refused.value)


async def test_events_with_a_time_in_the_future_start_their_runs_then(engine: TestEngine) -> None:
    at = engine.clock.now() + timedelta(hours=1)
    await engine.send(Event("order/placed", ts=at))
    [info] = await engine.list_runs()
    assert (info.status, info.phase) == ("PENDING", "sleeping")
    run: Run[str] = await engine.get_run(info.id, on_order)
    await run.result()
    started = (await run.info()).started_at
    assert started is not None
    assert started >= at
