"""Runs that go on as new ones: `continue_as_new` (DESIGN section 3)."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest

from durably import (
    Event,
    Run,
    RunCanceled,
    RunConflict,
    RunFailed,
    continue_as_new,
    current,
    now,
    step,
    wait_for_event,
    wait_for_signal,
    workflow,
)
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

Running = Callable[..., AbstractAsyncContextManager[TestEngine]]


@step
async def work(number: int) -> int:
    return number


@workflow
async def counts(number: int, upto: int = 5) -> timedelta:
    await work(number)
    await asyncio.sleep(10)
    if number < upto:
        continue_as_new(number + 1, upto=upto)
    return timedelta(seconds=number)


async def chain(engine: TestEngine) -> list[Run[Any]]:
    return [await engine.get_run(info.id) for info in reversed(await engine.list_runs(limit=100))]


@pytest.mark.parametrize("restart", [False, True])
async def test_result_follows_a_chain_to_its_end(running: Running, restart: bool) -> None:
    async with running(counts) as engine:
        run = await engine.start(counts, 0)
        if restart:
            for _ in range(6):
                await engine.clock.advance(7)
                await engine.restart()
        assert await run.result() == timedelta(seconds=5)
        runs = await chain(engine)
        infos = [await each.info() for each in runs]
        assert [info.status for info in infos] == ["SUCCEEDED"] * 6
        assert [info.continued_to for info in infos] == [each.id for each in runs[1:]] + [None]
        assert [info.origin for info in infos] == [None, *(each.id for each in runs[:-1])]
        assert [info.trigger for info in infos] == ["MANUAL"] * 6
        assert (await run.history()).types()[-1] == "run.continued"
        assert (await run.status(), (await run.info()).output) == ("SUCCEEDED", None)


async def test_every_run_of_a_chain_has_a_time_and_chance_of_its_own(running: Running) -> None:
    @workflow
    async def looks(found: list[str]) -> list[str]:
        await asyncio.sleep(1)
        found = [*found, f"{now():%S} {current().history_length}"]
        if len(found) < 3:
            continue_as_new(found)
        return found

    async with running(looks) as engine:
        assert await (await engine.start(looks, [])).result() == ["01 4", "02 4", "03 4"]


async def test_signals_that_it_has_not_looked_at_follow(running: Running) -> None:
    @workflow
    async def listens(found: list[Any]) -> list[Any]:
        await asyncio.sleep(10)
        signal = await wait_for_signal("ok")
        found = [*found, signal and signal.data]
        if len(found) < 3:
            continue_as_new(found)
        return found

    async with running(listens) as engine:
        run = await engine.start(listens, [])
        await run.signal("ok", 1)
        await run.signal("ok", 2)
        await engine.clock.advance(15)
        await engine.restart()
        await run.signal("ok", 3)  # by the old handle
        assert await run.result() == [1, 2, 3]
        with pytest.raises(RunConflict):
            await run.signal("ok", 4)


async def test_a_cancel_by_the_old_handle_reaches_the_new_run(running: Running) -> None:
    async with running(counts) as engine:
        run = await engine.start(counts, 0, upto=100)
        await engine.clock.advance(25)
        await engine.restart()
        assert await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        assert [await each.status() for each in await chain(engine)] == ["SUCCEEDED", "SUCCEEDED", "CANCELED"]
        assert not await run.cancel()


async def test_who_waits_already_follows(running: Running) -> None:
    async with running(counts) as engine:
        run = await engine.start(counts, 0)
        other = await engine.get_run(run.id, counts)
        results = await asyncio.gather(run.result(), run.result(), other.result())
        assert set(results) == {timedelta(seconds=5)}


async def test_no_event_falls_between_two_runs_of_a_chain(running: Running) -> None:
    """One that came before the continuation is found by it, and none is given twice."""

    @workflow
    async def listens(found: list[Any]) -> list[Any]:
        event = await wait_for_event("n", timeout=60)
        found = [*found, event and event.data["n"]]
        await asyncio.sleep(10)
        if len(found) < 4:
            continue_as_new(found)
        return found

    async with running(listens) as engine:
        run = await engine.start(listens, [])
        await engine.quiesce()
        await engine.send(Event("n", {"n": 1}))
        for number in (2, 3):  # each while the run before the one that gets it does something else
            await engine.clock.advance(7)
            await engine.send(Event("n", {"n": number}))
        assert await run.result() == [1, 2, 3, None]


async def test_it_goes_on_in_the_newest_version(running: Running) -> None:
    @workflow("grows", version=1)
    async def old(number: int) -> str:
        continue_as_new(number + 1)

    @workflow("grows", version=2)
    async def new(number: int) -> str:
        return f"new {number}"

    async with running(old, new) as engine:
        run = await engine.start(old, 1)
        assert await run.result() == "new 2"


async def test_its_arguments_are_checked_at_the_call(running: Running) -> None:
    @workflow(retries=0)
    async def mistaken(number: int) -> None:
        continue_as_new(str(number), more=1)

    async with running(mistaken) as engine:
        run = await engine.start(mistaken, 1)
        with pytest.raises(RunFailed):
            await run.result()
        assert (await run.history()).types()[-1] == "run.failed"


async def test_no_except_exception_stops_it_and_finally_runs(running: Running) -> None:
    @workflow
    async def careful(number: int) -> int:
        try:
            if number == 0:
                continue_as_new(1)
        except Exception:  # noqa: BLE001 - what users write
            return -1
        finally:
            await work(number)
        return number

    async with running(careful) as engine:
        run = await engine.start(careful, 0)
        assert await run.result() == 1
        assert "step.succeeded" in (await run.history()).types()


async def test_its_time_limit_begins_anew(running: Running) -> None:
    @workflow(timeout=15)
    async def slow(number: int) -> int:
        await asyncio.sleep(10 if number < 3 else 60)
        if number < 3:
            continue_as_new(number + 1)
        return number

    async with running(slow) as engine:
        run = await engine.start(slow, 0)
        began = engine.clock.now()
        with pytest.raises(RunFailed, match="15 s"):
            await run.result()
        assert (engine.clock.now() - began).total_seconds() == 45


async def test_test_mode_and_environment_go_on(running: Running) -> None:
    @workflow
    async def goes_on(number: int) -> list[Any]:
        if number == 0:
            continue_as_new(1)
        return [current().test]

    async with running(goes_on) as engine:
        run = await engine.start(goes_on.options(test=True, environment="staging"), 0)
        assert await run.result() == [True]
        assert {(await each.info()).environment for each in await chain(engine)} == {"staging"}


async def test_after_a_body_retry_the_same(running: Running) -> None:
    @workflow
    async def flaky(number: int) -> int:
        await work(number)
        if current().attempt == 0 and number == 0:
            raise ConnectionError
        if number == 0:
            continue_as_new(1)
        return number

    async with running(flaky) as engine:
        run = await engine.start(flaky, 0)
        await engine.restart()
        assert await run.result() == 1


async def test_a_step_with_a_trigger_is_not_concerned_and_events_start_chains(running: Running) -> None:
    @workflow(on="begin")
    async def begins(event: Event) -> Any:
        if "again" not in event.data:
            continue_as_new(Event("begin", {"again": True}))
        return event.data

    async with running(begins) as engine:
        await engine.send(Event("begin"))
        await engine.settle()
        first, second = await chain(engine)
        assert await first.result() == {"again": True}
        assert (await second.info()).trigger == "EVENT"
