"""Cancels, time limits, and the end of those that will not end (DESIGN section 3, "Cancel"; CONTRACT section 7)."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from durably import RetryPolicy, Run, RunCanceled, RunFailed, current, step, wait_for_event, wait_for_signal, workflow
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

Running = Callable[..., AbstractAsyncContextManager[TestEngine]]
SLOW_RETRY = RetryPolicy(3, backoff="fixed", delay=1000, jitter=0)


@step
async def work(name: str) -> str:
    return name


@step
async def hangs() -> None:
    await asyncio.Event().wait()


def passed(engine: TestEngine, since: Any) -> float:
    seconds: float = (engine.clock.now() - since).total_seconds()
    return seconds


# -- one cancel


@workflow
async def waits(what: str) -> None:
    match what:
        case "event":
            await wait_for_event("never", timeout=1000)
        case "signal":
            await wait_for_signal("never")
        case "timer":
            await asyncio.sleep(1000)
        case _:
            await hangs()


@pytest.mark.parametrize("what", ["event", "signal", "timer", "step"])
@pytest.mark.parametrize("restart", [False, True])
async def test_a_cancel_reaches_whatever_the_run_waits_for(running: Running, what: str, restart: bool) -> None:
    async with running(waits) as engine:
        run = await engine.start(waits, what)
        await engine.quiesce()
        if restart:
            await engine.restart()
        assert await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        assert not await run.cancel()
        taken_back = "step.canceled" if what == "step" else "timer.canceled" if what == "timer" else "wait.canceled"
        assert (await run.history()).types()[-3:] == ["cancel.requested", taken_back, "run.canceled"]


async def test_compensation_runs_to_its_end(running: Running) -> None:
    @workflow
    async def compensates() -> None:
        try:
            await wait_for_event("never")
        finally:
            await asyncio.sleep(100)
            await work("undo")

    async with running(compensates) as engine:
        run = await engine.start(compensates)
        await engine.quiesce()
        await run.cancel()
        await engine.clock.advance(50)
        await engine.restart()
        with pytest.raises(RunCanceled):
            await run.result()
        assert (await run.history()).types()[-3:] == ["attempt.started", "step.succeeded", "run.canceled"]


async def test_a_cancel_before_the_start_is_no_body(running: Running) -> None:
    async with running(waits) as engine:
        run = await engine.start(waits.options(delay=100), "event")
        await engine.restart()
        await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        assert (await run.history()).types() == ["run.created", "cancel.requested", "run.canceled"]
        await engine.settle()


# -- a second cancel


@workflow
async def stubborn() -> str:
    while True:
        try:
            await asyncio.sleep(7)
        except asyncio.CancelledError:
            await work("not yet")


@pytest.mark.parametrize("restart", [False, True])
async def test_a_run_is_ended_ten_seconds_after_a_second_cancel(running: Running, restart: bool) -> None:
    async with running(stubborn) as engine:
        run = await engine.start(stubborn)
        await engine.clock.advance(5)
        await run.cancel()
        await engine.clock.advance(100)
        assert await run.status() == "RUNNING"
        assert await run.cancel()
        since = engine.clock.now()
        await engine.clock.advance(5)
        if restart:
            await engine.restart()
        await run.cancel()  # a third one gives it no more time
        with pytest.raises(RunCanceled):
            await run.result()
        assert passed(engine, since) == 10
        assert (await run.history()).records[-1].stopped is True
        assert (await run.history()).types().count("cancel.requested") == 3


async def test_a_second_cancel_interrupts_the_compensation(running: Running) -> None:
    @workflow
    async def compensates() -> str:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                return "enough"
        return ""

    async with running(compensates) as engine:
        run = await engine.start(compensates)
        await engine.quiesce()
        await run.cancel()
        await run.cancel()
        assert await run.result() == "enough"
        await engine.settle()
        assert (await run.history()).types()[-1] == "run.succeeded"


async def test_steps_of_a_run_that_is_stopped_are_interrupted(running: Running) -> None:
    stopped: list[str] = []

    @step
    async def holds_on() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append("step")
            raise

    @workflow
    async def clings() -> None:
        for _ in range(3):
            try:
                await asyncio.shield(holds_on())
            except asyncio.CancelledError:
                continue

    async with running(clings, stubborn) as engine:
        run = await engine.start(clings)
        await engine.quiesce()
        await run.cancel()
        await run.cancel()
        await engine.quiesce()
        assert stopped == []
        await engine.clock.advance(10)
        assert await run.status() == "CANCELED"
        await engine.quiesce()
        assert stopped == ["step"] * 3


async def test_children_of_a_run_that_is_stopped_are_canceled(running: Running) -> None:
    @workflow
    async def parent() -> None:
        while True:
            try:
                await waits("event")
            except asyncio.CancelledError:
                continue

    async with running(parent, waits) as engine:
        run = await engine.start(parent)
        await engine.quiesce()
        await run.cancel()
        await run.cancel()
        await engine.clock.advance(10)
        await engine.quiesce()
        assert {info.status for info in await engine.list_runs()} == {"CANCELED"}


# -- the time limit


@workflow(timeout=30)
async def limited(how: str) -> str:
    try:
        await asyncio.sleep(10 if how == "in time" else 100)
    except asyncio.CancelledError:
        match how:
            case "returns":
                return "all the same"
            case "raises":
                raise ValueError("otherwise") from None
            case _:
                await asyncio.sleep(50)
                await work("undo")
                raise
    return "in time"


@pytest.mark.parametrize("restart", [False, True])
async def test_a_run_whose_time_is_up_compensates_and_fails(running: Running, restart: bool) -> None:
    async with running(limited) as engine:
        run = await engine.start(limited, "compensates")
        since = engine.clock.now()
        for seconds in (10, 30) if restart else ():
            await engine.clock.advance(seconds)
            await engine.restart()
        with pytest.raises(RunFailed, match="the run had not ended 30 s after its start") as failed:
            await run.result()
        assert failed.value.error.type == "durably.TimedOut"
        assert passed(engine, since) == 80
        history = await run.history()
        assert [each.reason for each in history if each.type == "cancel.requested"] == ["timeout"]
        assert "step.succeeded" in history.types()


@pytest.mark.parametrize(("how", "outcome"), [("in time", "in time"), ("returns", "all the same")])
async def test_a_run_may_end_otherwise_when_its_time_is_up(running: Running, how: str, outcome: str) -> None:
    async with running(limited) as engine:
        assert await (await engine.start(limited, how)).result() == outcome


async def test_an_error_out_of_the_compensation_is_not_retried(running: Running) -> None:
    async with running(limited) as engine:
        run = await engine.start(limited, "raises")
        with pytest.raises(RunFailed, match="otherwise"):
            await run.result()
        assert "body.failed" not in (await run.history()).types()


async def test_time_may_be_up_while_the_body_waits_for_its_retry(running: Running) -> None:
    @workflow(timeout=30, retry=SLOW_RETRY)
    async def fails() -> None:
        raise ConnectionError

    async with running(fails) as engine:
        run = await engine.start(fails)
        since = engine.clock.now()
        await engine.clock.advance(10)
        await engine.restart()
        with pytest.raises(RunFailed, match="TimedOut"):
            await run.result()
        assert passed(engine, since) == 30


async def test_a_time_limit_does_not_interrupt_what_a_cancel_has_begun(running: Running) -> None:
    async with running(limited) as engine:
        run = await engine.start(limited, "compensates")
        await engine.clock.advance(10)
        await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        history = await run.history()
        assert [each.reason for each in history if each.type == "cancel.requested"] == ["requested"]
        assert "step.succeeded" in history.types()


async def test_a_limit_may_be_set_at_the_start_and_counts_from_there(running: Running) -> None:
    async with running(waits) as engine:
        run = await engine.start(waits.options(timeout=5, delay=100), "timer")
        since = engine.clock.now()
        with pytest.raises(RunFailed, match="5 s after its start"):
            await run.result()
        assert passed(engine, since) == 105


async def test_a_cancel_while_the_body_waits_for_its_retry_ends_the_run(running: Running) -> None:
    @workflow(retry=SLOW_RETRY)
    async def fails() -> None:
        await work("first")
        raise ConnectionError

    async with running(fails) as engine:
        run: Run[None] = await engine.start(fails)
        await engine.quiesce()
        assert (await run.info()).phase == "retrying"
        await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        await engine.settle()


# -- a delay


async def test_a_delayed_run_begins_when_it_is_due(running: Running) -> None:
    @workflow
    async def tells() -> list[Any]:
        return [current().attempt]

    async with running(tells) as engine:
        run = await engine.start(tells.options(delay=100))
        since = engine.clock.now()
        info = await run.info()
        assert (info.status, info.phase) == ("PENDING", "sleeping")
        await engine.clock.advance(40)
        await engine.restart()
        assert await run.status() == "PENDING"
        assert await run.result() == [0]
        assert passed(engine, since) == 100
