"""Code that no longer fits a history: each kind of difference, and what the error says about it."""

import asyncio
import linecache
import re
from collections.abc import Awaitable, Callable
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


# -- one changed workflow for each kind


async def without_the_reservation(sku: str) -> str:  # noqa: ARG001 - as in the original
    return await asyncio.Event().wait() and ""


async def with_a_mail_at_the_end(sku: str) -> str:
    reservation = await reserve(sku)
    await asyncio.sleep(60)
    await charge(100)
    await mail(sku)
    return reservation


async def with_another_step_first(sku: str) -> str:
    await mail(sku)
    return await reserve(sku)


async def with_another_argument(sku: str) -> str:
    return await reserve(sku.upper())


async def with_a_longer_sleep(sku: str) -> str:
    reservation = await reserve(sku)
    await asyncio.sleep(90)
    return reservation


async def that_returns_early(sku: str) -> str:
    return await reserve(sku)


async def that_goes_on(sku: str) -> str:
    await reserve(sku)
    await asyncio.sleep(60)
    await charge(100)
    return await asyncio.Event().wait() and ""


async def that_returns_something_else(sku: str) -> str:
    reservation = await reserve(sku)
    await asyncio.sleep(60)
    await charge(100)
    return reservation.upper()


async def that_raises(sku: str) -> str:
    await reserve(sku)
    await asyncio.sleep(60)
    await charge(100)
    raise LookupError("no such order")


KINDS = [
    pytest.param(
        without_the_reservation,
        "record 2, run.started, of 2026-01-01T00:00:00+00:00",
        "the code no longer does something that the history holds",
        """step 'reserve' (0/reserve#0) with {"sku":"lamp"}, called at test_replay.py:LINE""",
        "the body waits for something else",
        "0: without_the_reservation (FILE:LINE)",
        id="missing",
    ),
    pytest.param(
        with_a_mail_at_the_end,
        "record 8, step.succeeded, of 2026-01-01T00:01:00+00:00",
        "the code does something that the history does not hold",
        "nothing more",
        """step 'mail' (0/mail#0) with {"to":"lamp"}, called at test_replay.py:LINE""",
        "0: with_a_mail_at_the_end (FILE:LINE)",
        id="extra",
    ),
    pytest.param(
        with_another_step_first,
        "record 2, run.started, of 2026-01-01T00:00:00+00:00",
        "the code does something else than the history holds",
        """step 'reserve' (0/reserve#0) with {"sku":"lamp"}, called at test_replay.py:LINE""",
        """step 'mail' (0/mail#0) with {"to":"lamp"}, called at test_replay.py:LINE""",
        "0: with_another_step_first (FILE:LINE)",
        id="something else",
    ),
    pytest.param(
        with_another_argument,
        "record 2, run.started, of 2026-01-01T00:00:00+00:00",
        "the code calls the same step with other arguments",
        """step 'reserve' (0/reserve#0) with {"sku":"lamp"}, called at test_replay.py:LINE""",
        """step 'reserve' (0/reserve#0) with {"sku":"LAMP"}, called at test_replay.py:LINE""",
        "0: with_another_argument (FILE:LINE)",
        id="other arguments",
    ),
    pytest.param(
        with_a_longer_sleep,
        "record 4, step.succeeded, of 2026-01-01T00:00:00+00:00",
        "the code sets the same timer with another delay",
        "timer 0/timer#0 of 60 s",
        "timer 0/timer#0 of 90 s",
        "0: with_a_longer_sleep (FILE:LINE)",
        id="another delay",
    ),
    pytest.param(
        that_returns_early,
        "record 4, step.succeeded, of 2026-01-01T00:00:00+00:00",
        "the code has come to its end while the history goes on",
        "timer 0/timer#0 of 60 s",
        'the body returned "reservation of lamp"',
        None,
        id="ended early",
    ),
    pytest.param(
        that_goes_on,
        "record 8, step.succeeded, of 2026-01-01T00:01:00+00:00",
        "the history has come to its end while the code goes on",
        'the run succeeded with "reservation of lamp"',
        "the body waits for something else",
        "0: that_goes_on (FILE:LINE)",
        id="ended late",
    ),
    pytest.param(
        that_returns_something_else,
        "record 8, step.succeeded, of 2026-01-01T00:01:00+00:00",
        "the code ends in another way than the history",
        'the run succeeded with "reservation of lamp"',
        'the body returned "RESERVATION OF LAMP"',
        None,
        id="ended otherwise",
    ),
    pytest.param(
        that_raises,
        "record 8, step.succeeded, of 2026-01-01T00:01:00+00:00",
        "the code ends in another way than the history",
        'the run succeeded with "reservation of lamp"',
        "the body raised LookupError: no such order, in that_raises (FILE:LINE)",
        None,
        id="ended otherwise, by an error",
    ),
]


ADVICE = (
    "  The run is blocked, not failed: nothing is lost and no retry is used. Put the fitting code back, or keep the "
    "old workflow beside the new one as version=2, and restart: the run then goes on. `durably replay` shows this "
    "without a server."
)


@pytest.mark.parametrize(("changed", "record", "what", "expected", "got", "place"), KINDS)
async def test_the_error_says_what_differs_where_and_what_to_do(  # noqa: PLR0917 - a table's columns
    changed: Callable[..., Awaitable[str]], record: str, what: str, expected: str, got: str, place: str | None
) -> None:
    history = await history_of(order, "lamp")
    message = complaint(changed, history).replace(__file__, "FILE")
    message = re.sub(r"(FILE|test_replay\.py):\d+", r"\1:LINE", message)
    message = re.sub(r"fingerprint \w{16}, now \w{16}", "fingerprint OLD, now NEW", message)
    assert message.splitlines() == [
        f"run {history.run['id']} of workflow 'order' (version 1) does not fit its history at {record}",
        f"  {what}",
        f"  expected (history): {expected}",
        f"  got (code):         {got}",
        *([] if place is None else [f"  at {place}"]),
        "  The workflow's code has changed since the run started (fingerprint OLD, now NEW).",
        ADVICE,
    ]


async def test_the_lines_it_names_are_those_of_the_calls() -> None:
    message = complaint(with_another_argument, await history_of(order, "lamp"))
    lines = [int(number) for number in re.findall(r"test_replay\.py:(\d+)", message)]
    found = [linecache.getline(__file__, number).strip() for number in lines]
    assert found == ["reservation = await reserve(sku)", *["return await reserve(sku.upper())"] * 2]


async def test_a_renamed_step_is_one_missing_and_one_extra() -> None:
    @step("book")
    async def renamed(sku: str) -> str:
        return sku

    async def changed(sku: str) -> str:
        return await renamed(sku)

    message = complaint(changed, await history_of(order, "lamp"))
    assert "expected (history): step 'reserve' (0/reserve#0)" in message
    assert "got (code):         step 'book' (0/book#0)" in message


async def test_unchanged_code_that_is_not_deterministic_is_named_as_that() -> None:
    names = iter(("first", "second"))

    @workflow
    async def fickle() -> None:
        await mail(next(names))

    async with TestEngine(workflows=[fickle], max_parked=10) as engine:
        run = await engine.start(fickle)
        await run.result()
        history = await run.history()
    with pytest.raises(NondeterminismError) as raised:
        Replayer([fickle]).replay(history)
    assert "The workflow's own code is unchanged (fingerprint " in str(raised.value)
    assert (
        "a function it calls has changed, or it is not deterministic. Time, randomness, a set's order, globals "
        "and the environment belong in steps." in str(raised.value)
    )


async def test_a_workflow_of_another_name_or_version_is_named() -> None:
    history = await history_of(order, "lamp")
    with pytest.raises(NondeterminismError, match=r"of workflow 'order' version 1, .* given: order version 2$"):
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
