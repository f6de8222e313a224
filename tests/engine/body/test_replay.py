"""Histories fed to code: what fits, and what is refused before any code is asked."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from durably import (
    DurablyError,
    History,
    NondeterminismError,
    RetryPolicy,
    RunCanceled,
    RunFailed,
    StepError,
    Workflow,
    current,
    step,
    workflow,
)
from durably import random as run_random
from durably.replay import Replayer
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


@step
async def reserve(sku: str) -> str:
    return f"reservation of {sku}"


@step
async def charge(cents: int) -> None: ...


@step
async def mail(to: str) -> None: ...


@workflow("order")
async def order(sku: str) -> str:
    reservation = await reserve(sku)
    await asyncio.sleep(60)
    await charge(100)
    return reservation


async def history_of(started: Workflow[..., Any], *args: Any) -> History:
    async with TestEngine(workflows=[started]) as engine:
        run = await engine.start(started, *args)
        with suppress(RunFailed):
            await run.result()
        return await run.history()


def named(fn: Callable[..., Any]) -> Workflow[..., Any]:
    """The same workflow with other code."""
    return workflow("order")(fn)


def complaint(fn: Callable[..., Any], history: History) -> str:
    with pytest.raises(NondeterminismError) as raised:
        Replayer([named(fn)]).replay(history)
    return str(raised.value)


# -- what does not fit (what is said of it: test_mismatch.py)


async def test_a_workflow_of_another_name_or_version_is_named() -> None:
    history = await history_of(order, "lamp")
    with pytest.raises(NondeterminismError, match=r"of workflow 'order' version 1, .* given: order version 2\. "):
        Replayer([workflow("order", version=2)(order.fn)]).replay(history)


async def test_a_result_that_no_longer_decodes_is_named() -> None:
    history = await history_of(order, "lamp")

    @step("reserve")
    async def reserve_many(sku: str) -> list[str]:
        return [sku]

    async def changed(sku: str) -> str:
        return (await reserve_many(sku))[0]

    message = complaint(changed, history)
    assert "at record 4, step.succeeded" in message
    assert "the recorded result of step 0/reserve#0: Expected `array`, got `str`" in message


# -- what fits


async def test_the_order_of_commands_within_one_group_does_not_matter() -> None:
    """Their identities say which is which."""

    @workflow("order")
    async def one_way() -> None:
        await asyncio.gather(reserve("a"), charge(1))

    async def other_way() -> None:
        async def reserve_later() -> None:
            await asyncio.sleep(0)
            await reserve("a")

        await asyncio.gather(reserve_later(), charge(1))

    Replayer([named(other_way)]).replay(await history_of(one_way))


@step
async def fails() -> None:
    raise ConnectionError("no")


@step(retries=0)
async def fails_at_once() -> None:
    raise ConnectionError("no")


@workflow
async def succeeds() -> set[str]:
    return {"a", "b"}


@workflow
async def is_retried() -> tuple[int, float]:
    await mail("a")
    if current().attempt < 2:
        raise ConnectionError
    await mail("b")
    return current().attempt, run_random().random()


@workflow
async def fails_for_good() -> None:
    await fails()


@workflow(retries=0)
async def raises() -> None:
    await mail("a")
    raise LookupError


@workflow
async def catches() -> str:
    try:
        await fails_at_once()
    except StepError as error:
        await mail(error.message)
    return "went on"


@workflow(retries=0)
async def returns_what_cannot_be_kept() -> object:
    await mail("a")
    return object()


@workflow(retries=0)
async def returns_too_much() -> str:
    await mail("a")
    return "x" * (4 * 1024 * 1024)


@workflow(retries=0)
async def opens_a_socket() -> None:
    await mail("a")
    await asyncio.open_connection("localhost", 1)


@workflow(retries=0)
async def spins() -> None:
    await mail("a")
    while True:  # noqa: ASYNC110 - that is the mistake
        await asyncio.sleep(0)


@workflow(retries=0)
async def exits() -> None:
    await mail("a")
    raise SystemExit(3)


@workflow(retry=RetryPolicy.NEVER)
async def leaves_work_behind() -> str:
    tasks = [asyncio.create_task(mail(name)) for name in ("a", "b")]
    await asyncio.sleep(1)
    tasks.append(asyncio.create_task(asyncio.sleep(1000)))  # type: ignore[arg-type]
    await asyncio.sleep(1)
    return "done"


@pytest.mark.parametrize(
    "started",
    [
        succeeds,
        is_retried,
        fails_for_good,
        raises,
        catches,
        returns_what_cannot_be_kept,
        returns_too_much,
        opens_a_socket,
        spins,
        exits,
        leaves_work_behind,
    ],
    ids=lambda each: each.name,
)
async def test_the_history_of_any_finished_run_fits_its_own_code(started: Workflow[..., Any]) -> None:
    """A failed run is a good replay (CONTRACT section 3)."""
    history = await history_of(started)
    Replayer([started]).replay(history)
    Replayer([started]).replay(History.from_json(history.to_json()))


async def test_the_history_of_a_canceled_run_fits() -> None:
    @workflow
    async def waits() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await mail("sorry")

    async with TestEngine(workflows=[waits]) as engine:
        run = await engine.start(waits)
        await engine.clock.advance(1)
        assert await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        Replayer([waits]).replay(await run.history())


async def test_the_history_of_a_run_that_goes_on_fits() -> None:
    async with TestEngine(workflows=[order]) as engine:
        run = await engine.start(order, "lamp")
        await engine.clock.advance(1)
        Replayer([order]).replay(await run.history())


async def test_the_history_of_a_run_that_was_too_long_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    @workflow
    async def many() -> None:
        for number in range(100):
            await charge(number)

    monkeypatch.setattr("durably.engine.log.limits.MAX_RECORDS", 20)
    history = await history_of(many)
    assert history.records[-1].error["type"] == "durably.HistoryTooLong"
    Replayer([many]).replay(history)


async def test_no_step_body_runs() -> None:
    calls: list[str] = []

    @step
    async def work() -> None:
        calls.append("called")

    @workflow
    async def once() -> None:
        await work()

    history = await history_of(once)
    Replayer([once]).replay(history)
    assert calls == ["called"]


async def test_a_document_that_is_no_history_is_refused() -> None:
    with pytest.raises(DurablyError, match="this is not an exported history"):
        History.from_json("{}")
