"""Mistakes of one workflow are its own: the engine, its parents and strangers go on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from durably import (
    ChildError,
    RunFailed,
    signal_run,
    start_child,
    wait_for_event,
    workflow,
)
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


@workflow
async def child() -> int:
    return 1


async def variables_that_are_no_json() -> None:
    await wait_for_event("x", where="vars.a == 1", vars={"a": object()})


async def variables_with_a_lone_surrogate() -> None:
    await wait_for_event("x", where="vars.a == '1'", vars={"a": "\ud800"})


async def a_childs_id_with_a_lone_surrogate() -> None:
    await start_child(child.options(run_id="\ud800"))


async def a_signal_to_a_lone_surrogate() -> None:
    await signal_run("\ud800", "x")


async def a_signal_to_a_number() -> None:
    await signal_run(cast("str", 5), "x")


@pytest.mark.parametrize(
    "mistake",
    [
        variables_that_are_no_json,
        variables_with_a_lone_surrogate,
        a_childs_id_with_a_lone_surrogate,
        a_signal_to_a_lone_surrogate,
        a_signal_to_a_number,
    ],
    ids=lambda each: each.__name__,
)
@pytest.mark.parametrize("first", [0, 0.2], ids=["in the first activation", "later"])
async def test_what_cannot_be_written_down_fails_the_run_alone(
    mistake: Callable[[], Awaitable[None]], first: float
) -> None:
    @workflow(retries=0)
    async def errs() -> None:
        if first:
            await asyncio.sleep(first)
        await mistake()

    async with TestEngine(workflows=[errs, child]) as engine:
        run = await engine.start(errs)
        with pytest.raises(RunFailed):
            await run.result()
        await engine.restart()
        assert await (await engine.start(child)).result() == 1


@workflow
async def stranger() -> str:
    await asyncio.sleep(100)
    return "undisturbed"


@workflow
async def takes_a_strangers_id() -> str:
    run = await start_child(stranger.options(run_id="taken"))
    await run.cancel()
    try:
        return await run.result()
    except ChildError as error:
        return error.status


@pytest.mark.parametrize("max_parked", [0, 100])
async def test_a_parent_cancels_its_own_child_only(max_parked: int) -> None:
    async with TestEngine(workflows=[stranger, takes_a_strangers_id], max_parked=max_parked) as engine:
        other = await engine.start(stranger, run_id="taken")
        assert await (await engine.start(takes_a_strangers_id)).result() == "FAILED"
        assert await other.result() == "undisturbed"


@workflow
async def promises_a_number() -> int:
    return cast("int", "text")


@workflow
async def believes_it() -> Any:
    try:
        return await promises_a_number()
    except ChildError as error:
        assert error.error is not None  # noqa: PT017 - in a workflow
        return error.error.message


async def test_a_result_that_misses_its_annotation_fails_its_own_run() -> None:
    """Else it would block the parent that reads it, whose code is as it should be."""
    async with TestEngine(workflows=[promises_a_number, believes_it]) as engine:
        with pytest.raises(RunFailed, match="misses its annotation"):
            await (await engine.start(promises_a_number)).result()
        assert "misses its annotation" in await (await engine.start(believes_it)).result()
        await engine.replay_finished()
