"""Trying open runs with code that is to be deployed: the verdict is what an engine would come to."""

import asyncio
from typing import Any

import pytest

from durably import RetryPolicy, Run, Workflow, current, step, workflow
from durably.engine.execution.rehearsal import Rehearsal, Verdict
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

LATER = RetryPolicy(2, backoff="fixed", delay=60, jitter=0)
calls: list[str] = []


@step
async def reserve(sku: str) -> str:
    calls.append(sku)
    return sku


@workflow("order", retry=LATER)
async def order(sku: str) -> str:
    await reserve(sku)
    if current().attempt == 0 and sku == "fails":
        raise ConnectionError
    await asyncio.sleep(600)
    return await reserve(sku)


@workflow("order", retry=LATER)
async def changed(sku: str) -> str:
    return await reserve(sku.upper())


async def verdict(engine: TestEngine, run: Run[Any], *code: Workflow[..., Any]) -> Verdict:
    row = await engine.core.store.run(run.id)
    assert row is not None
    return Rehearsal(code).try_run(run.id, (await engine.core.store.records([row.run]))[row.run])


@pytest.mark.parametrize(
    ("sku", "code", "kind"),
    [
        ("lamp", order, ""),
        ("lamp", changed, "changed arguments"),
        ("lamp", workflow("order", version=2)(order.fn), "unknown workflow"),
        ("fails", changed, ""),  # its body begins anew, from the top
    ],
    ids=["same", "changed", "another version", "waiting for the body's retry"],
)
async def test_the_verdict_is_what_an_engine_comes_to(sku: str, code: Workflow[..., Any], kind: str) -> None:
    async with TestEngine(workflows=[order]) as engine:
        run = await engine.start(order, sku)
        await engine.clock.advance(1)
        before = list(calls)
        found = await verdict(engine, run, code)
        assert (found.run, found.workflow, found.version, found.kind) == (run.id, "order", 1, kind)
        assert found.fits is (kind == "")
        assert calls == before, "no step runs"
        engine.workflows = (code,)
        await engine.restart()
        await engine.clock.advance(2_000)
        assert ((await run.info()).phase == "blocked") is not found.fits


async def test_a_run_that_has_ended_meanwhile_fits() -> None:
    async with TestEngine(workflows=[order]) as engine:
        run = await engine.start(order, "lamp")
        await run.result()
        assert (await verdict(engine, run)).fits, "whatever workflows there are"


def test_what_is_no_log_is_a_bad_history() -> None:
    found = Rehearsal([order]).try_run("r", [])
    assert (found.kind, found.fits) == ("bad history", False)
    assert found.message.startswith("run r: a history begins with run.created")
