"""Changing code under runs that are open: versions side by side, and patches, over restarts, evictions and retries."""

import asyncio
from typing import Any

import pytest

from durably import (
    NondeterminismError,
    RetryPolicy,
    Workflow,
    current,
    deprecate_patch,
    patched,
    step,
    workflow,
)
from durably.replay import Replayer
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

SECOND_TRY = RetryPolicy(2, backoff="fixed", delay=10, jitter=0)
done: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


@step
async def charge(how: str) -> str:
    done.append(how)
    return how


async def deploy(engine: TestEngine, *definitions: Workflow[..., Any]) -> None:
    """Stop the process and start it with other code."""
    engine.workflows = definitions
    await engine.restart()


# -- the same workflow as it is changed, from release to release


@workflow("order")
async def before() -> list[str]:
    await asyncio.sleep(60)
    return [await charge("net")]


@workflow("order")
async def with_patch() -> list[str]:
    await asyncio.sleep(60)
    return [await charge("gross" if patched("tax") else "net")]


@workflow("order")
async def with_patch_at_the_top() -> list[str]:
    new = patched("tax")
    await asyncio.sleep(60)
    again = patched("tax")
    assert new == again
    return [await charge("gross" if new else "net")]


@workflow("order")
async def with_step_before() -> list[str]:
    """The patch brings a step that old runs have gone past."""
    if patched("check"):
        await charge("check")
    await asyncio.sleep(60)
    return [await charge("net")]


@workflow("order")
async def deprecated() -> list[str]:
    deprecate_patch("check")
    await charge("check")
    await asyncio.sleep(60)
    return [await charge("net")]


@workflow("order")
async def afterwards() -> list[str]:
    await charge("check")
    await asyncio.sleep(60)
    return [await charge("net")]


# -- versions


async def test_old_runs_stay_on_their_version_and_new_ones_start_on_the_highest() -> None:
    second = workflow("order", version=2)(afterwards.fn)
    async with TestEngine(workflows=[before]) as engine:
        old = await engine.start(before)
        await engine.clock.advance(1)
        await deploy(engine, before, second)
        new = await engine.start("order")
        assert [(await run.info()).version for run in (old, new)] == [1, 2]
        assert await old.result() == ["net"]
        assert await new.result() == ["net"]
        assert done.count("check") == 1
        for run in (old, new):
            Replayer([before, second]).replay(await run.history())


async def test_a_version_that_is_taken_away_blocks_its_runs_until_it_is_back() -> None:
    second = workflow("order", version=2)(afterwards.fn)
    async with TestEngine(workflows=[before, second]) as engine:
        old = await engine.start(before)
        await engine.clock.advance(1)
        await deploy(engine, second)
        await engine.clock.advance(100)
        assert (await old.info()).phase == "blocked"
        await deploy(engine, before, second)
        assert await old.result() == ["net"]


# -- patched()


async def test_a_run_that_has_gone_past_takes_the_old_way_and_a_new_one_the_new() -> None:
    async with TestEngine(workflows=[before]) as engine:
        old = await engine.start(before)
        await engine.clock.advance(1)
        await deploy(engine, with_step_before)
        new = await engine.start("order")
        await engine.clock.advance(1)
        for _ in range(3):  # and keep to it, however often they are rebuilt
            await deploy(engine, with_step_before)
            await engine.clock.advance(1)
        assert (await old.result(), await new.result()) == (["net"], ["net"])
        assert sorted(done) == ["check", "net", "net"]
        histories = await old.history(), await new.history()
        assert ["patch.marked" in history.types() for history in histories] == [False, True]
        for history in histories:
            Replayer([with_step_before]).replay(history)


async def test_a_run_that_has_not_come_by_yet_takes_the_new_way() -> None:
    async with TestEngine(workflows=[before]) as engine:
        old = await engine.start(before)
        await engine.clock.advance(1)
        await deploy(engine, with_patch)
        assert await old.result() == ["gross"]


async def test_a_run_keeps_the_way_it_has_gone_once() -> None:
    """Asked again after a restart, where it would say yes to a new run, it says what it said."""
    async with TestEngine(workflows=[before]) as engine:
        old = await engine.start(before)
        await engine.clock.advance(1)
        await deploy(engine, with_patch_at_the_top)
        await engine.clock.advance(1)
        await deploy(engine, with_patch_at_the_top)
        assert await old.result() == ["net"]


@pytest.mark.parametrize("max_parked", [0, 10])
async def test_a_body_that_is_retried_keeps_its_way(max_parked: int) -> None:
    @workflow("order", retry=SECOND_TRY)
    async def fails_once() -> list[str]:
        how = "gross" if patched("tax") else "net"
        await charge(how)
        if current().attempt == 0:
            raise ConnectionError
        await asyncio.sleep(5)
        return [how, "gross" if patched("tax") else "net"]

    @workflow("order", retry=SECOND_TRY)
    async def without() -> list[str]:
        await charge("net")
        if current().attempt == 0:
            raise ConnectionError
        return ["net"]

    async with TestEngine(workflows=[without], max_parked=max_parked) as engine:
        old = await engine.start(without)
        await engine.clock.advance(1)  # its first attempt has failed
        await deploy(engine, fails_once)
        new = await engine.start("order")
        assert await new.result() == ["gross", "gross"]
        assert done.count("gross") == 1
        assert await old.result() in (["net", "net"], ["gross", "gross"])
        for run in (old, new):
            Replayer([fails_once]).replay(await run.history())


# -- the end of a patch


async def test_a_deprecated_patch_fits_runs_that_have_it_and_blocks_those_from_before() -> None:
    async with TestEngine(workflows=[before]) as engine:
        older = await engine.start(before)
        await engine.clock.advance(1)
        await deploy(engine, with_step_before)
        marked = await engine.start("order")
        await engine.clock.advance(1)
        await deploy(engine, deprecated)
        new = await engine.start("order")
        await engine.clock.advance(100)
        assert [(await run.info()).phase for run in (older, marked, new)] == ["blocked", None, None]
        error = (await older.info()).error
        assert error is not None
        assert "  new patch: the code takes it for granted that this run goes the way of a patch" in error.message
        assert "  got (code):         patch 'check'" in error.message
        assert "nondeterminism, 'new patch'" in error.message
        await deploy(engine, with_step_before)
        assert await older.result() == ["net"]


async def test_a_patch_that_was_taken_out_fits_runs_that_have_the_mark() -> None:
    async with TestEngine(workflows=[with_step_before]) as engine:
        marked = await engine.start(with_step_before)
        await engine.clock.advance(1)
        await deploy(engine, afterwards)
        assert await marked.result() == ["net"]
        history = await marked.history()
    for code in (with_step_before, deprecated, afterwards):
        Replayer([code]).replay(history)
    with pytest.raises(NondeterminismError) as raised:
        Replayer([before]).replay(history)
    assert raised.value.kind == "missing"
