"""What runs use up is in the day's totals exactly as it is in their histories, whatever happens meanwhile."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from durably import RetryPolicy, Run, RunFailed, StoreError, continue_as_new, current, start_child, step, workflow
from durably.store import MemoryStore, Operation, UnknownOutcome
from durably.store.protocol import Done
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

TWICE = RetryPolicy(1, backoff="fixed", delay=10, jitter=0)


@step(retry=TWICE)
async def work(name: str) -> str:
    if name == "flaky" and current().attempt == 0:
        raise ConnectionError
    return name


@workflow
async def child() -> str:
    return await work("child")


@workflow
async def packs(left: int) -> None:
    await work("pack")
    if left:
        continue_as_new(left - 1)


@workflow(retry=TWICE)
async def everything() -> None:
    await work("first")
    await work("flaky")
    await asyncio.gather(work("left"), work("right"), child())
    await start_child(packs, 2)
    if current().attempt == 0:
        raise ConnectionError
    await work("last")
    raise ValueError("at the very end")


WORKFLOWS = [everything, child, packs]


class FailingStore(MemoryStore):
    """Nobody knows what becomes of commit number `fails`."""

    def __init__(self, fails: int = 0, *, happened: bool = True) -> None:
        super().__init__()
        self.fails, self.happened = fails, happened
        self.submitted = 0
        self.broken = False

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        self.submitted += 1
        self.broken = self.broken or self.submitted == self.fails
        if not self.broken or (self.submitted == self.fails and self.happened):
            super().submit(batch, (lambda _: None) if self.broken else done)
        if self.broken:
            asyncio.get_running_loop().call_soon(done, UnknownOutcome("EIO"))

    async def reopen(self) -> None:
        await super().reopen()
        self.broken = False


async def used(engine: TestEngine) -> dict[str, tuple[int, int]]:
    """Runs and tasks, by workflow."""
    rows = await engine.core.store.usage(0, 1 << 40)
    return {row.workflow: (row.runs, row.tasks) for row in rows}


async def done(engine: TestEngine) -> dict[str, tuple[int, int]]:
    """The same, from the runs themselves."""
    runs: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    for each in await engine.list_runs(limit=1000):
        runs[each.workflow] += each.started_at is not None
        tasks[each.workflow] += each.tasks
    return {name: (runs[name], tasks[name]) for name in runs}


async def carried_out(engine: TestEngine) -> Run[Any]:
    run = await engine.start(everything, run_id="run")
    with suppress(RunFailed):
        await run.result()
    await engine.settle()
    return run


@pytest.mark.parametrize("happened", [True, False])
async def test_nothing_is_counted_twice_over_outages(max_parked: int, happened: bool) -> None:
    expected = {"everything": (1, 5), "child": (1, 1), "packs": (3, 3)}
    store = FailingStore()
    fails = 0
    while fails <= store.submitted:
        fails += 1
        store = FailingStore(fails, happened=happened)
        engine = TestEngine(workflows=WORKFLOWS, max_parked=max_parked)
        engine.use_store(store)
        async with engine:
            with suppress(StoreError):  # its start
                await carried_out(engine)
            await carried_out(engine)
            assert await used(engine) == expected == await done(engine), fails
    assert fails > 10


async def test_reruns_and_forks_count_what_they_do_themselves(max_parked: int) -> None:
    async with TestEngine(workflows=WORKFLOWS, max_parked=max_parked) as engine:
        run = await carried_out(engine)
        await run.rerun(from_step="0/work#2")
        await run.fork(at="0/work#1")
        await run.fork()
        await run.rerun()
        await engine.settle()
        assert [each.status for each in await engine.list_runs(workflow="everything")] == ["FAILED"] * 5
        assert await used(engine) == await done(engine)
