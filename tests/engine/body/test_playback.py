"""A history fed up to a record, and the code held there."""

import asyncio

import pytest

from durably import History, RetryPolicy, current, step, workflow
from durably.engine.body.playback import Playback
from durably.engine.log.grammar import parse
from durably.replay import Replayer
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

SECOND_TRY = RetryPolicy(1, backoff="fixed", delay=10, jitter=0)


@step
async def reserve(sku: str) -> str:
    return sku


@workflow("order", retry=SECOND_TRY)
async def order(sku: str) -> str:
    await reserve(sku)
    if current().attempt == 0:
        raise ConnectionError
    await asyncio.sleep(60)
    return await reserve.options(key="/whole")(sku)


@workflow("order", retry=SECOND_TRY)
async def changed(sku: str) -> str:
    await reserve(sku)
    if current().attempt == 0:
        raise ConnectionError
    await asyncio.sleep(90)
    return sku


async def recorded() -> History:
    async with TestEngine(workflows=[order]) as engine:
        run = await engine.start(order, "lamp")
        await run.result()
        return await run.history()


def playback(history: History, until: int | None = None, code: object = order) -> Playback:
    log = parse(history.entries())
    return Playback(Replayer([code]).workflow_of(log), "r", log, until)  # type: ignore[list-item]  # one of the two


async def test_it_stands_where_it_stood() -> None:
    history = await recorded()
    seen: list[tuple[str, list[str]]] = []
    for until in range(2, len(history) + 1):
        with playback(history, until) as played:
            assert played.misfit is None
            seen.append((played.at, [wait.key for task in played.tasks() for wait in task.waits]))
    assert seen == [
        *[("record 2, run.started", ["0/reserve#0"])] * 2,
        *[("record 4, step.succeeded", [])] * 2,  # and the body has failed
        *[("record 6, body.started", ["0/timer#0"])] * 2,
        *[("record 8, timer.fired", ["/whole"])] * 2,
        *[("record 10, step.succeeded", [])] * 2,
    ]


async def test_without_a_record_it_goes_to_the_end() -> None:
    with playback(await recorded()) as played:
        assert played.instance.result() == "lamp"


async def test_before_the_body_there_is_nothing_to_look_at() -> None:
    history = await recorded()
    with pytest.raises(LookupError, match="had not begun by record 1"):
        playback(history, 1)


async def test_where_it_does_not_fit_it_stands_there_and_says_why() -> None:
    with playback(await recorded(), code=changed) as played:
        assert played.misfit is not None
        assert played.misfit.kind == "changed delay"
        assert played.at == "record 6, body.started"
        [task] = played.tasks()
        assert task.stack[-1].source == "await asyncio.sleep(90)"


async def test_at_its_end_the_code_is_closed() -> None:
    with playback(await recorded(), 3) as played:
        assert played.tasks()
    assert played.tasks() == []
