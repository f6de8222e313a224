"""Commits whose outcome nobody knows (DESIGN rule 8): at every commit of a run, whether it happened or not."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import pytest

from durably import Event, RetryPolicy, StepError, StoreError, current, step, workflow
from durably.store import Fenced, MemoryStore, Operation, StoreFailure, StoreUnavailable, UnknownOutcome
from durably.store.protocol import Done
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


EIO = UnknownOutcome("the disk said EIO")


class FailingStore(MemoryStore):
    """Reports commit number `fails` as unknown, after carrying it out or instead; then needs `outage` reopenings."""

    def __init__(self, fails: int, *, happened: bool, outage: int = 0, failure: StoreFailure = EIO) -> None:
        super().__init__()
        self.failure = failure
        self.fails = fails
        self.happened = happened
        self.outage = outage
        self.submitted = 0
        self.broken = False

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        self.submitted += 1
        if self.submitted == self.fails:
            self.broken = True
            if self.happened:
                super().submit(batch, lambda _: None)
            asyncio.get_running_loop().call_soon(done, self.failure)
        elif self.broken:
            asyncio.get_running_loop().call_soon(done, UnknownOutcome("not reopened yet"))
        else:
            super().submit(batch, done)

    async def reopen(self) -> None:
        if self.outage > 0:
            self.outage -= 1
            raise StoreUnavailable("still no space")
        await super().reopen()
        self.broken = False


bodies: Counter[str] = Counter()


@step(retry=RetryPolicy(2, backoff="fixed", delay=1, jitter=0))
async def work(name: str) -> str:
    bodies[name] += 1
    if name == "flaky" and current().attempt == 0:
        raise ValueError("not yet")
    return name


@step(retries=0)
async def hopeless() -> None:
    bodies["hopeless"] += 1
    raise ValueError("never")


@workflow(on="app/go")
async def everything(event: Event) -> list[str]:
    first = await work("first")
    await asyncio.sleep(60)
    with suppress(StepError):
        await hopeless()
    rest = await asyncio.gather(*(work(name) for name in ("flaky", "left", "right")))
    return [first, *rest, str(event.data["n"])]


def engine_on(store: FailingStore, max_parked: int) -> TestEngine:
    engine = TestEngine(workflows=[everything], max_parked=max_parked)
    engine.use_store(store)
    return engine


@pytest.mark.parametrize("max_parked", [0, 100])
@pytest.mark.parametrize("happened", [True, False])
async def test_every_commit_may_fail_and_the_run_still_ends_as_it_should(happened: bool, max_parked: int) -> None:
    """Nothing acknowledged is lost, no recorded success runs again, and the log has no gap."""
    commits = await _commits_without_failure(max_parked)
    assert commits > 6
    for fails in range(2, commits + 1):  # the first one is the event's: see below
        bodies.clear()
        store = FailingStore(fails, happened=happened)
        async with engine_on(store, max_parked) as engine:
            await engine.send(Event("app/go", {"n": 1}))
            [info] = await engine.list_runs()
            run = await engine.get_run(info.id)
            assert await run.result() == ["first", "flaky", "left", "right", "1"], fails
            history = await run.history()
            assert [record.seq for record in history] == list(range(1, len(history) + 1))
            assert history.types().count("step.succeeded") == 4
            assert (await run.info()).tasks == 5
            lost = [record.reason for record in history if record.type == "attempt.lost"]
            assert set(lost) <= {"fenced"}, "an outage is not the step's fault"
            for name in ("first", "left", "right"):
                assert bodies[name] <= 1 + len(lost)
            await engine.replay_finished()
        assert store.submitted >= fails


async def _commits_without_failure(max_parked: int) -> int:
    store = FailingStore(0, happened=False)
    async with engine_on(store, max_parked) as engine:
        await engine.send(Event("app/go", {"n": 1}))
        await engine.settle()
        [info] = await engine.list_runs()
        assert info.status == "SUCCEEDED"
    return store.submitted


@pytest.mark.parametrize("happened", [True, False])
async def test_an_event_whose_commit_is_unknown_is_answered_when_the_store_knows(happened: bool) -> None:
    """The acknowledgement comes late, and true."""
    async with engine_on(FailingStore(1, happened=happened), 0) as engine:
        event = Event("app/go", {"n": 7}, id="once")
        if happened:
            assert await engine.send(event) == ["once"]
        else:
            with pytest.raises(StoreError, match="not stored"):
                await engine.send(event)
            assert await engine.send(event) == ["once"]
        await engine.settle()
        assert [info.status for info in await engine.list_runs()] == ["SUCCEEDED"]


@pytest.mark.parametrize("happened", [True, False])
async def test_an_event_that_is_not_answered_may_be_sent_again(happened: bool) -> None:
    """The store stays away, so nobody can know: the same id gives one run, whatever became of the first try."""
    async with engine_on(FailingStore(1, happened=happened, outage=1), 0) as engine:
        event = Event("app/go", {"n": 7}, id="once")
        with pytest.raises(StoreError, match=r"is not known.*send it again with the same id"):
            await engine.send(event)
        await engine.settle()
        assert await engine.send(event) == ["once"]
        await engine.settle()
        assert [info.status for info in await engine.list_runs()] == ["SUCCEEDED"]


@pytest.mark.parametrize("happened", [True, False])
async def test_a_start_whose_commit_is_unknown_tells_the_truth(happened: bool) -> None:
    """The store is asked once it can answer."""
    async with engine_on(FailingStore(1, happened=happened), 0) as engine:
        event = Event("app/go", {"n": 7})
        if happened:
            run = await engine.start(everything, event)
            assert (await run.result())[-1] == "7"
        else:
            with pytest.raises(StoreError, match="was not started"):
                await engine.start(everything, event)
            assert await engine.list_runs() == []


async def test_while_the_store_cannot_be_written_reads_are_answered_and_writes_refused() -> None:
    """A full disk: the engine stays up, tries again every second, and goes on when there is room."""
    async with engine_on(FailingStore(3, happened=False, outage=3), 0) as engine:
        await engine.send(Event("app/go", {"n": 1}))
        await engine.quiesce()
        while engine.core.journal.failure is None:  # noqa: ASYNC110 - the engine has no event for it
            await asyncio.sleep(0)
        with pytest.raises(StoreError, match="try again later"):
            await engine.send(Event("app/go", {"n": 2}))
        [info] = await engine.list_runs()
        assert info.status in {"PENDING", "RUNNING"}
        before = engine.clock.now()
        run = await engine.get_run(info.id)
        assert (await run.result())[-1] == "1"
        assert (engine.clock.now() - before).total_seconds() >= 60 + 3
        await engine.send(Event("app/go", {"n": 2}))


async def test_an_engine_that_lost_its_store_to_another_one_stops() -> None:
    """Fenced: it must not write any more, and says so."""
    store = FailingStore(2, happened=False, failure=Fenced("another engine has the store"))
    async with engine_on(store, 0) as engine:
        await engine.send(Event("app/go", {"n": 1}))
        with pytest.raises(Fenced):
            await asyncio.wait_for(engine.wait(asyncio.shield(engine.core.failed)), 5)
        await engine.core.abandon()
