"""The handle on a child run: what it asks of the instance, and what it refuses."""

import asyncio
from typing import Any

import pytest

from durably import ChildError, DurablyError, Run, RunFailed, start_child, step, workflow
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


@step
async def work() -> None: ...


@workflow
async def sleeps(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def result_of(parent: Any, *, max_parked: int = 0) -> Any:
    async with TestEngine(workflows=[parent, sleeps], max_parked=max_parked) as engine:
        run: Run[Any] = await engine.start(parent)
        try:
            return await run.result()
        finally:
            await engine.replay_finished()


async def test_the_id_is_known_at_once_and_the_same_on_every_replay() -> None:
    @workflow
    async def parent() -> list[str]:
        one, chosen = await start_child(sleeps, 1), await start_child(sleeps.options(run_id="mine"), 1)
        before = one.id
        await asyncio.sleep(5)
        return [before, one.id, chosen.id]

    before, after, chosen = await result_of(parent)
    assert before == after
    assert (len(before), chosen) == (32, "mine")


async def test_giving_up_the_wait_for_a_result_does_not_cancel_the_child() -> None:
    @workflow
    async def parent() -> list[Any]:
        child = await start_child(sleeps, 10)
        found: list[Any] = []
        try:
            await child.result(timeout=2)
        except TimeoutError as error:
            found.append(str(error))
        try:
            await asyncio.wait_for(child.result(), 2)
        except TimeoutError as error:
            found.append(str(error))
        return [*found, await child.result(timeout=60), await child.result(timeout=0)]

    first, second, *results = await result_of(parent)
    assert first.endswith("has not ended within 2 s")
    assert second == ""
    assert results == [10, 10]


async def test_many_may_wait_for_one_child() -> None:
    @workflow
    async def parent() -> list[float]:
        child = await start_child(sleeps, 3)
        return list(await asyncio.gather(*(child.result() for _ in range(3))))

    assert await result_of(parent) == [3, 3, 3]


async def test_canceling_tells_whether_there_is_something_to_cancel() -> None:
    @workflow
    async def parent() -> list[Any]:
        canceled, ended = await start_child(sleeps, 10), await start_child(sleeps, 1)
        await ended.result()
        found: list[Any] = [await canceled.cancel(), await canceled.cancel(), await ended.cancel()]
        try:
            await canceled.result()
        except ChildError as error:
            found.append(error.status)
        return found

    assert await result_of(parent) == [True, False, False, "CANCELED"]


async def test_a_negative_timeout_is_a_mistake() -> None:
    @workflow(retries=0)
    async def parent() -> None:
        await (await start_child(sleeps, 1)).result(timeout=-1)

    with pytest.raises(RunFailed, match="ValueError"):
        await result_of(parent)


async def test_what_differs_at_each_replay_is_refused_with_what_to_do() -> None:
    @workflow
    async def parent() -> list[str]:
        child = await start_child(sleeps, 1)
        found: list[str] = []
        for name in ("status", "info", "history", "rerun", "fork", "stream"):
            try:
                getattr(child, name)()
            except DurablyError as error:
                found.append(str(error))
        return found

    refusals = await result_of(parent)
    assert len(refusals) == 6
    assert refusals[0] == (
        "Run.status() asks what is different at each replay, and so cannot be called in a workflow: call it in a step, "
        "or await the child's result()"
    )
