"""Two histories compared: by what records are about, whatever their numbers and times."""

import asyncio
from typing import Any

import pytest

from durably import History, RetryPolicy, StepError, step, workflow
from durably.engine.log.diff import Strand, diff
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

RETRY = RetryPolicy(2, backoff="fixed", delay=10, jitter=0)


@step(retry=RETRY)
async def charge(cents: int) -> int:
    return cents


@step
async def reserve(sku: str) -> str:
    return f"r {sku}"


@step
async def mail(to: str) -> None: ...


@workflow
async def order(sku: str, cents: int = 100, pause: float = 60) -> str:
    first, _ = await asyncio.gather(reserve(sku), reserve("box"))
    await asyncio.sleep(pause)
    try:
        await charge(cents)
    except StepError:
        await mail(sku)
    return first


async def history(*args: Any, mocked: dict[str, Any] | None = None, **mocks: Any) -> History:
    async with TestEngine(workflows=[order]) as engine:
        await engine.clock.advance(len(args))  # begun at another time
        if mocks:
            engine.mock(charge, **mocks)
        if mocked:
            engine.mock(reserve, **mocked)
        run = await engine.start(order, *args)
        await run.result()
        return await run.history()


def told(strands: list[Strand]) -> dict[str, list[str]]:
    """By key, what differs."""
    return {
        strand.key: [
            *(["moved"] if strand.moved else []),
            *(
                f"{'-' if pair.after is None else '+' if pair.before is None else '~'} {pair.type}"
                + "".join(f" {change.text()}" for change in pair.changes)
                for pair in strand.pairs
                if not pair.same
            ),
        ]
        for strand in strands
        if not strand.same
    }


async def test_a_history_and_another_run_of_the_same_are_the_same() -> None:
    assert told(diff(await history("lamp"), await history("lamp"))) == {}
    later = await history("lamp", 100, 60)
    assert told(diff(await history("lamp"), later)) == {}


async def test_other_arguments_show_where_they_matter() -> None:
    assert told(diff(await history("lamp"), await history("lamp", 200))) == {
        "": ["~ run.created input.cents: 100, now 200"],
        "0/charge#0": [
            "~ attempt.started input.cents: 100, now 200",
            "~ step.succeeded output: 100, now 200",
        ],
    }


async def test_another_delay() -> None:
    found = told(diff(await history("lamp"), await history("lamp", 100, 90.0)))
    assert found["0/timer#0"] == ["~ timer.set delay: 60.0, now 90.0"]


async def test_a_retry_stands_between_what_is_the_same() -> None:
    again = await history("lamp", raises=[ConnectionError("no"), None], returns=100)
    strands = diff(await history("lamp"), again)
    assert told(strands) == {
        "0/charge#0": [
            "+ attempt.failed",
            "+ attempt.started",
            "~ step.succeeded attempt: 0, now 1",
        ]
    }
    [strand] = [strand for strand in strands if not strand.same]
    assert (strand.name, [pair.same for pair in strand.pairs]) == ("charge", [True, False, False, False])
    assert [pair.after_s for pair in strand.pairs] == [60, 60, 70, 70]
    assert strand.pairs[-1].before_s == 60


async def test_a_step_of_one_side_only_stands_beside_its_neighbours() -> None:
    failing = await history("lamp", raises=LookupError("no account"))
    strands = diff(await history("lamp"), failing)
    assert [strand.key for strand in strands] == [
        "", "0/0/reserve#0", "0/1/reserve#0", "0/timer#0", "0/charge#0", "0/mail#0",
    ]  # fmt: skip
    assert told(strands)["0/mail#0"] == ["+ attempt.started", "+ step.succeeded"]
    assert told(diff(failing, await history("lamp")))["0/mail#0"] == ["- attempt.started", "- step.succeeded"]


async def test_outcomes_in_another_order_are_named() -> None:
    def answer(sku: str) -> str:
        return f"r {sku}"

    def slower(sku: str) -> float:
        return 9 - len(sku)

    one = await history("lamp", mocked={"side_effect": answer, "takes": len})
    other = await history("lamp", mocked={"side_effect": answer, "takes": slower})
    assert told(diff(one, one)) == {}
    [(key, what)] = told(diff(one, other)).items()
    assert key in {"0/0/reserve#0", "0/1/reserve#0"}
    assert what == ["moved"]
