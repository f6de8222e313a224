"""Runs that wait for, start and tell one another, killed or cut off at every commit (DESIGN rules 8, 9, 12)."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from durably import (
    ChildError,
    Event,
    RetryPolicy,
    Run,
    StoreError,
    Workflow,
    continue_as_new,
    current,
    publish,
    send_event,
    signal_run,
    start_child,
    step,
    wait_for_event,
    wait_for_signal,
    workflow,
)
from durably.engine.execution import journal
from durably.store import Committer, MemoryStore, Operation, UnknownOutcome, open_url
from durably.store.protocol import Done
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

ONCE_MORE = RetryPolicy(2, backoff="fixed", delay=20, jitter=0)
bodies: Counter[str] = Counter()


@step
async def work(name: str) -> str:
    bodies[name] += 1
    return name


@workflow
async def packs(number: int) -> int:
    if number < 3:
        await work(f"pack {number}")
        continue_as_new(number + 1)
    signal = await wait_for_signal("address", type=int)
    return number + (signal.data if signal else 0)


@workflow
async def waits_for_ever() -> None:
    await wait_for_event("never")


@workflow(on="family/asked")
async def answers(event: Event) -> None:
    await work("answer")
    await send_event(Event("family/answered", {"to": event.data["by"], "n": 5}))
    if current().attempt == 0 and event.data["by"]:
        await signal_run(event.data["child"], "address", 40)


@workflow(retry=ONCE_MORE)
async def family() -> list[Any]:
    packing, idle = await start_child(packs, 0), await start_child(waits_for_ever)
    await publish("asking")
    await send_event(Event("family/asked", {"by": current().run_id, "child": packing.id}))
    answer = await wait_for_event("family/answered", match={"data.to": current().run_id})
    if current().attempt == 0:
        raise ConnectionError
    nothing = await wait_for_event("family/answered", timeout=30)
    await idle.cancel()
    stopped = ""
    try:
        await idle.result()
    except ChildError as error:
        stopped = error.status
    await publish("done")
    return [answer and answer.data["n"], nothing, await packing.result(), stopped, await work("last")]


EXPECTED = [5, None, 43, "CANCELED", "last"]
ALL: list[Workflow[..., Any]] = [family, packs, answers, waits_for_ever]


async def check(engine: TestEngine, run: Run[Any], at: str) -> None:
    """Everything happened, and nothing twice."""
    assert await run.result() == EXPECTED, at
    await engine.settle()
    runs = Counter((info.workflow, info.status) for info in await engine.list_runs(limit=100))
    assert runs == {
        ("family", "SUCCEEDED"): 1,
        ("packs", "SUCCEEDED"): 4,
        ("answers", "SUCCEEDED"): 1,
        ("waits_for_ever", "CANCELED"): 1,
    }, at
    history = await run.history()
    assert [each.seq for each in history] == list(range(1, len(history) + 1)), at
    types = Counter(history.types())
    assert (types["event.sent"], types["event.received"], types["message.published"]) == (1, 1, 2), at
    assert (types["child.succeeded"], types["child.canceled"]) == (1, 1), at
    assert len(await engine.core.store.events_since("family/asked", (0, 0), 10)) == 1, at
    assert len(await engine.core.store.events_since("family/answered", (0, 0), 10)) == 1, at
    assert await engine.core.store.inbox_runs() == [], at
    assert await engine.core.store.wait_paths() == [], at
    await engine.replay_finished()


class FaultyStore(MemoryStore):
    """At commit number `at` the process dies, or the outcome is unknown; the commit happened, or not."""

    def __init__(self, at: int, *, happened: bool, dies: bool) -> None:
        super().__init__()
        self.at, self.happened, self.dies = at, happened, dies
        self.commits = 0
        self.broken = False
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        self.commits += 1
        if self.commits == self.at:
            if self.happened:
                super().submit(batch, _nobody)
            self.broken = not self.dies
            loop = asyncio.get_running_loop()
            if self.dies:
                loop.call_soon(self.died.set_result, None)
            else:
                loop.call_soon(done, UnknownOutcome("EIO"))
        elif self.broken:
            asyncio.get_running_loop().call_soon(done, UnknownOutcome("not reopened yet"))
        else:
            super().submit(batch, done)

    async def reopen(self) -> None:
        await super().reopen()
        self.broken = False


def _nobody(_: object) -> None: ...


@pytest.fixture(autouse=True, params=[1, 256], ids=["alone", "batched"])
def cap_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each operation in a commit of its own, or all that come together in one."""
    monkeypatch.setattr(journal, "Committer", partial(Committer, cap_rows=request.param))


def engine_on(store: MemoryStore, max_parked: int) -> TestEngine:
    engine = TestEngine(workflows=ALL, max_parked=max_parked)
    engine.use_store(store)
    return engine


async def go(engine: TestEngine) -> None:
    await (await engine.start(family, run_id="run")).result()


async def commits_of(max_parked: int) -> int:
    store = FaultyStore(0, happened=True, dies=False)
    async with engine_on(store, max_parked) as engine:
        await check(engine, await engine.start(family, run_id="run"), "untouched")
    assert store.commits > 12
    return store.commits


@pytest.mark.parametrize("happened", [True, False])
async def test_a_kill_at_any_commit_changes_nothing(max_parked: int, happened: bool) -> None:
    for at in range(1, await commits_of(max_parked) + 1):
        store = FaultyStore(at, happened=happened, dies=True)
        async with engine_on(store, max_parked) as engine:
            going = asyncio.ensure_future(go(engine))
            # A slow machine may put into one commit what was two when they were counted: then there is no such one.
            await engine.wait(asyncio.wait({store.died, going}, return_when="FIRST_COMPLETED"))
            going.cancel()
            await engine.restart()
            run: Run[Any] = await engine.start(family, run_id="run")
            await check(engine, run, f"killed at commit {at}")


@pytest.mark.parametrize("happened", [True, False])
async def test_a_commit_of_which_nobody_knows_changes_nothing(max_parked: int, happened: bool) -> None:
    for at in range(1, await commits_of(max_parked) + 1):
        store = FaultyStore(at, happened=happened, dies=False)
        async with engine_on(store, max_parked) as engine:
            try:
                run = await engine.start(family, run_id="run")
            except StoreError:
                run = await engine.start(family, run_id="run")
            await check(engine, run, f"unknown at commit {at}")


@pytest.mark.parametrize("restarts", [0, 5])
async def test_the_same_on_a_disk(tmp_path: Path, max_parked: int, restarts: int) -> None:
    engine = TestEngine(workflows=ALL, max_parked=max_parked)
    engine.use_store(open_url(f"sqlite:///{tmp_path}/runs.db"))
    async with engine:
        run = await engine.start(family, run_id="run")
        for _ in range(restarts):
            await engine.clock.advance(9)
            await engine.restart()
        await check(engine, run, "on a disk")
