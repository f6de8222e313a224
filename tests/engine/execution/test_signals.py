"""Signals: kept until the run waits, one wait each, first come first served (DESIGN section 3, "Waits")."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest

from durably import (
    DurablyError,
    NonRetriableError,
    Run,
    RunConflict,
    RunFailed,
    Signal,
    current,
    signal_run,
    step,
    wait_for_signal,
    workflow,
)
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

Running = Callable[..., AbstractAsyncContextManager[TestEngine]]
Jump = Callable[[TestEngine, float], None]


@step
async def work(number: int) -> int:
    return number


def data_of(signal: Signal[Any] | None) -> Any:
    return None if signal is None else signal.data


@workflow
async def collects(number: int, limit: float) -> list[Any]:
    return [data_of(await wait_for_signal("ok", timeout=limit)) for _ in range(number)]


@pytest.mark.parametrize("restart", [False, True])
async def test_a_signal_wakes_the_run_that_waits(running: Running, restart: bool) -> None:
    async with running(collects) as engine:
        run, other = [await engine.start(collects, 1, 60) for _ in range(2)]
        await engine.quiesce()
        if restart:
            await engine.restart()
        await run.signal("no", 0)
        await run.signal("ok", {"by": "me"})
        assert await run.result() == [{"by": "me"}]
        assert await other.result() == [None], "a signal is for one run"


async def test_a_signal_has_its_name_and_time(running: Running) -> None:
    @workflow
    async def one() -> list[Any]:
        signal = await wait_for_signal("ok")
        assert signal is not None
        return [signal.name, signal.data, signal.at.isoformat()]

    async with running(one) as engine:
        run = await engine.start(one)
        await engine.clock.advance(5)
        await run.signal("ok")
        assert await run.result() == ["ok", None, "2026-01-01T00:00:05+00:00"]


@pytest.mark.parametrize("restart", [False, True])
async def test_signals_are_kept_in_their_order_until_the_run_asks_for_them(running: Running, restart: bool) -> None:
    @workflow
    async def late() -> list[Any]:
        await asyncio.sleep(60)
        b = [data_of(await wait_for_signal("b")) for _ in range(2)]
        return b + [data_of(await wait_for_signal("a")) for _ in range(2)]

    async with running(late) as engine:
        run = await engine.start(late)
        for name, data in [("a", 1), ("b", 2), ("a", 3), ("b", 4)]:
            await run.signal(name, data)
        if restart:
            await engine.clock.advance(30)
            await engine.restart()
        assert await run.result() == [2, 4, 1, 3]


async def test_signals_of_one_moment_are_each_given_once(running: Running) -> None:
    """They lie in the inbox together, and each one's sender has it looked into."""
    async with running(collects) as engine:
        run = await engine.start(collects, 5, 60)
        await engine.quiesce()
        await asyncio.gather(*(run.signal("ok", number) for number in range(3)))
        assert await run.result() == [0, 1, 2, None, None]


async def test_a_thousand_kept_signals_are_taken_one_after_the_other() -> None:
    @workflow
    async def late() -> int:
        await asyncio.sleep(60)
        return sum([data_of(await wait_for_signal("ok")) for _ in range(1000)])

    async with TestEngine(workflows=[late], max_parked=10) as engine:
        run = await engine.start(late)
        await asyncio.gather(*(run.signal("ok", 1) for _ in range(1000)))
        assert await run.result() == 1000


async def test_a_signal_wakes_the_wait_that_asked_first(running: Running) -> None:
    @workflow
    async def two() -> list[Any]:
        return [data_of(each) for each in await asyncio.gather(*(wait_for_signal("ok", timeout=9) for _ in range(3)))]

    async with running(two) as engine:
        run = await engine.start(two)
        await engine.quiesce()
        await run.signal("ok", 1)
        await engine.restart()
        await run.signal("ok", 2)
        assert await run.result() == [1, 2, None]
        received = [each.wait for each in await run.history() if each.type == "signal.received"]
        assert received == ["0/0/signal#0", "0/1/signal#0"]


async def test_a_signal_for_a_wait_that_was_given_up_is_kept_for_the_next(running: Running) -> None:
    @workflow
    async def impatient() -> list[Any]:
        found: list[Any] = []
        for _ in range(2):
            try:
                found.append(data_of(await asyncio.wait_for(wait_for_signal("ok"), 5)))
            except TimeoutError:
                found.append("late")
                await asyncio.sleep(60)
        return found

    async with running(impatient) as engine:
        run = await engine.start(impatient)
        await engine.clock.advance(10)
        await run.signal("ok", 1)
        assert await run.result() == ["late", 1]


async def test_a_signal_in_the_moment_of_the_deadline_wins(running: Running, jump: Jump) -> None:
    async with running(collects, auto=False) as engine:
        run = await engine.start(collects, 1, 60)
        await engine.quiesce()
        sending = asyncio.ensure_future(run.signal("ok", 1))
        await asyncio.sleep(0)
        jump(engine, 60)
        await sending
        await engine.quiesce()
        assert await run.result() == [1]


@workflow
async def typed() -> list[Any]:
    approved = await wait_for_signal("ok", type=timedelta)
    assert approved is not None
    return [approved.data.total_seconds(), current().attempt]


async def test_a_signals_data_comes_back_as_asked_for(running: Running) -> None:
    async with running(typed) as engine:
        run = await engine.start(typed)
        await run.signal("ok", timedelta(minutes=1))
        assert await run.result() == [60, 0]


async def test_data_that_does_not_fit_fails_the_run_and_is_not_retried(running: Running) -> None:
    async with running(typed) as engine:
        run = await engine.start(typed)
        await run.signal("ok", [1])
        with pytest.raises(RunFailed, match=r"signal 'ok' of 2026-01-01 00:00:00 UTC does not fit") as failed:
            await run.result()
        assert failed.value.error.type == "durably.NonRetriableError"
        assert "body.failed" not in (await run.history()).types()


async def test_a_run_may_take_data_that_does_not_fit_another_way(running: Running) -> None:
    @workflow
    async def careful() -> Any:
        try:
            return data_of(await wait_for_signal("ok", type=int))
        except NonRetriableError as error:
            return type(error).__name__

    async with running(careful) as engine:
        run = await engine.start(careful)
        await run.signal("ok", "x")
        assert await run.result() == "NonRetriableError"


async def test_a_signal_to_a_run_that_has_ended_is_a_conflict(running: Running) -> None:
    async with running(collects) as engine:
        run = await engine.start(collects, 0, 0)
        await run.result()
        with pytest.raises(RunConflict, match="has ended"):
            await run.signal("ok", 1)
        await engine.restart()
        with pytest.raises(RunConflict):
            await run.signal("ok", 1)


@pytest.mark.parametrize("data", ["x" * 600_000, object()], ids=["too large", "no JSON"])
async def test_data_that_cannot_be_sent_is_refused(running: Running, data: Any) -> None:
    async with running(collects) as engine:
        run = await engine.start(collects, 1, 5)
        with pytest.raises(DurablyError):
            await run.signal("ok", data)
        assert await run.result() == [None]


# -- the inbox of a run that ends


async def test_signals_nobody_asked_for_go_with_the_run(running: Running) -> None:
    @workflow
    async def deaf() -> None:
        await asyncio.sleep(5)

    async with running(deaf) as engine:
        run = await engine.start(deaf)
        await run.signal("ok", 1)
        await run.signal("ok", 2)
        await engine.restart()
        await run.result()
        await engine.quiesce()
        assert await engine.core.store.inbox_runs() == []


async def test_a_signal_that_comes_while_the_run_ends_does_not_lie_there_for_ever(running: Running) -> None:
    @workflow
    async def deaf() -> None:
        await wait_for_signal("end")

    async with running(deaf) as engine:
        run = await engine.start(deaf)
        await engine.quiesce()
        await asyncio.gather(run.signal("end"), run.signal("ok", 2), run.signal("ok", 3))
        await run.result()
        await engine.quiesce()
        assert await engine.core.store.inbox_runs() == []


# -- from run to run


@workflow
async def tells(run_id: str, number: int) -> int:
    for place in range(number):
        await signal_run(run_id, "ok", place)
        await work(place)
    if current().attempt == 0:
        raise ConnectionError
    return current().attempt


async def test_a_run_signals_another_once_over_body_retries(running: Running) -> None:
    async with running(collects, tells) as engine:
        run = await engine.start(collects, 4, 60)
        teller = await engine.start(tells, run.id, 2)
        assert await run.result() == [0, 1, None, None]
        assert await teller.result() == 1
        history = await teller.history()
        assert [each.send for each in history if each.type == "signal.sent"] == ["0/tell#0", "0/tell#1"]


async def test_a_run_may_signal_itself(running: Running) -> None:
    @workflow
    async def talks_to_itself() -> Any:
        await signal_run(current().run_id, "ok", 7)
        return data_of(await wait_for_signal("ok"))

    async with running(talks_to_itself) as engine:
        assert await (await engine.start(talks_to_itself)).result() == 7


async def test_a_signal_to_an_ended_or_unknown_run_goes_unheard(running: Running) -> None:
    async with running(collects, tells) as engine:
        ended = await engine.start(collects, 0, 0)
        await ended.result()
        for run_id in (ended.id, "unheard of"):
            run: Run[int] = await engine.start(tells, run_id, 1)
            assert await run.result() == 1


async def test_a_signal_too_large_to_be_sent_is_refused_in_a_workflow_too(running: Running) -> None:
    @workflow(retries=0)
    async def loud() -> None:
        await signal_run("x", "ok", "x" * 600_000)

    async with running(loud) as engine:
        with pytest.raises(RunFailed, match="more than 524,288"):
            await (await engine.start(loud)).result()


# -- body retries


async def test_signals_are_carried_over_a_body_retry_and_kept_ones_go_on_waiting(running: Running) -> None:
    @workflow
    async def flaky() -> list[Any]:
        first = data_of(await wait_for_signal("ok"))
        if current().attempt == 0:
            raise ConnectionError
        return [first, data_of(await wait_for_signal("ok")), current().attempt]

    async with running(flaky) as engine:
        run = await engine.start(flaky)
        await engine.quiesce()
        await run.signal("ok", 1)
        await run.signal("ok", 2)
        await engine.quiesce()
        assert (await run.info()).phase == "retrying"
        await engine.restart()
        assert await run.result() == [1, 2, 1]


async def test_what_it_waits_for_is_shown(running: Running) -> None:
    async with running(collects) as engine:
        run = await engine.start(collects, 1, 60)
        await engine.quiesce()
        [waiting] = (await run.info()).waiting_for
        assert (waiting.kind, waiting.key, waiting.name) == ("signal", "0/signal#0", "ok")
        assert waiting.due_at is not None
        assert (await run.info()).phase == "waiting"
