"""Killed at every commit in turn, a chain of retries neither loses a retry nor makes two of one."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import pytest

from durably.engine.log.records import JobRun
from durably.store import MemoryStore, Operation
from durably.store.protocol import Done
from durably.testing import TestEngine
from tests.destination import LOOPBACK, Destination
from tests.engine.jobs.conftest import Desk

pytestmark = pytest.mark.anyio

FIRST = "00000000-0000-0000-0000-000000000001"
WHOLE = [("MANUAL", "FAILED"), ("RETRY", "FAILED"), ("RETRY", "SUCCEEDED")]


class DeadlyStore(MemoryStore):
    """The process dies at a commit, before or after it happened: nobody hears of it any more."""

    def __init__(self, dies_at: int, *, happened: bool) -> None:
        super().__init__()
        self.dies_at = dies_at
        self.happened = happened
        self.commits = 0
        self.died = asyncio.Event()

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        self.commits += 1
        if self.commits != self.dies_at:
            super().submit(batch, done)
            return
        if self.happened:
            super().submit(batch, lambda _: None)
        asyncio.get_running_loop().call_soon(self.died.set)


async def ask(desk: Desk) -> None:
    """What somebody wants, and asks for again when there was no answer."""
    if not desk.engine.core.policies.all():
        await desk.policy()
    if desk.engine.core.jobs.find("job") is None:
        await desk.create(retry_policy="again")
    if await desk.engine.core.store.run(FIRST) is None:
        await desk.run(run_id=FIRST)


async def live(desk: Desk) -> None:
    """Ask, and let the time of the whole chain pass."""
    await ask(desk)
    for _ in range(4):
        await desk.engine.settle()
        await desk.engine.clock.advance(10)
    await desk.engine.settle()


class Ended(NamedTuple):
    """A run at the end."""

    trigger: str
    status: str
    failure: str | None
    of: JobRun | None


async def killed(url: str, dies_at: int, *, happened: bool) -> tuple[list[Ended], bool]:
    """The runs of an engine that died at that commit and was started again, and whether it died at all."""
    store = DeadlyStore(dies_at, happened=happened)
    engine = TestEngine(auto=False)
    engine.use_store(store)
    engine.settings = engine.settings._replace(http_allow=LOOPBACK)
    async with engine:
        desk = Desk(engine, url)
        living, dying = asyncio.ensure_future(live(desk)), asyncio.ensure_future(store.died.wait())
        await asyncio.wait({living, dying}, return_when="FIRST_COMPLETED")
        died = dying.done()
        for each in (living, dying):
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each
        if died:
            await engine.restart()
            await live(desk)
        ended = [
            Ended(row.trigger, row.status, (await desk.report(row)).failure, (await desk.created(row)).job)
            for row in await desk.runs()
        ]
    return ended, died


@pytest.mark.parametrize("happened", [True, False])
async def test_each_retry_is_there_once(destination: Destination, happened: bool) -> None:
    dies_at = 1
    while True:
        destination.statuses = [500, 500, 200]
        destination.requests.clear()
        runs, died = await killed(destination.url, dies_at, happened=happened)
        assert [(run.of.retry_of, run.of.attempt) for run in runs if run.of is not None] == [
            (None if attempt == 0 else FIRST, attempt) for attempt in range(len(runs))
        ]
        if any(run.failure == "WORKER_LOST" for run in runs):  # a request was under way, and is not repeated
            assert {run.status for run in runs} == {"FAILED"}
            assert destination.hits <= len(runs)
        else:
            assert [(run.trigger, run.status) for run in runs] == WHOLE, (dies_at, died)
            assert destination.hits == len(WHOLE)
        if not died:
            break
        dies_at += 1
    assert dies_at > 10
