"""What attempts of a blocked run come to is neither lost nor done again, and the run goes on as soon as it can."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import pytest

from durably import (
    Event,
    NonRetriableError,
    RunFailure,
    StoreError,
    continue_as_new,
    run_step,
    step,
    wait_for_signal,
    workflow,
)
from durably.engine.execution import journal
from durably.engine.policies.model import PolicyFields
from durably.store import Committer, MemoryStore, Operation, Put, Save, StoreUnavailable, UnknownOutcome
from durably.store.protocol import Done
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

POLICY = msgspec.convert({"name": "p", "max_retries": 1, "backoff": "fixed", "delay_seconds": 60}, PolicyFields)
bodies: Counter[str] = Counter()


class FaultyStore(MemoryStore):
    """Reports the first commit with such an operation as unknown; then needs `outage` reopenings."""

    def __init__(self, kind: type[Operation], *, happened: bool, outage: int) -> None:
        super().__init__()
        self.kind: type[Operation] | None = kind
        self.happened = happened
        self.outage = outage
        self.broken = False

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        tell = asyncio.get_running_loop().call_soon
        if self.broken:
            tell(done, UnknownOutcome("not reopened yet"))
        elif self.kind is not None and any(isinstance(each, self.kind) for each in batch):
            self.kind, self.broken = None, True
            if self.happened:
                super().submit(batch, lambda _: None)
            tell(done, UnknownOutcome("EIO"))
        else:
            super().submit(batch, done)

    async def reopen(self) -> None:
        if self.outage > 0:
            self.outage -= 1
            raise StoreUnavailable("still no space")
        await super().reopen()
        self.broken = False


class SlowStore(MemoryStore):
    """Carries out nothing while it is held."""

    def __init__(self) -> None:
        super().__init__()
        self.held = False
        self.waiting: list[Callable[[], None]] = []

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        if self.held:
            self.waiting.append(partial(super().submit, batch, done))
        else:
            super().submit(batch, done)

    def let_one(self) -> None:
        if self.waiting:
            self.waiting.pop(0)()

    def let_all(self) -> None:
        self.held = False
        while self.waiting:
            self.let_one()


async def turns(number: int = 30) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@step
async def work(name: str) -> str:
    bodies[name] += 1
    return name


@step(retry="first")
async def named() -> str:
    return "named"


@step(retry="second")
async def other() -> str:
    return "other"


@workflow
async def two() -> list[str]:
    return [await work("a"), await named()]


@pytest.fixture(autouse=True)
def fresh() -> None:
    bodies.clear()


@pytest.fixture(autouse=True, params=[1, 256], ids=["alone", "batched"])
def cap_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each operation in a commit of its own, or all that come together in one."""
    monkeypatch.setattr(journal, "Committer", partial(Committer, cap_rows=request.param))


def engine_on(store: MemoryStore, max_parked: int, *workflows: Any) -> TestEngine:
    engine = TestEngine(workflows=workflows or [two], max_parked=max_parked)
    engine.use_store(store)
    return engine


async def is_blocked(engine: TestEngine, run_id: str) -> bool:
    return (await (await engine.get_run(run_id)).info()).phase == "blocked"


@pytest.mark.parametrize("outage", [0, 2])
@pytest.mark.parametrize("happened", [True, False])
async def test_an_outage_loses_no_outcome_of_a_blocked_run(max_parked: int, happened: bool, outage: int) -> None:
    """It is on its way into the inbox when nobody knows what becomes of it."""
    async with engine_on(FaultyStore(Put, happened=happened, outage=outage), max_parked) as engine:
        run = await engine.start(two)
        await engine.settle()
        assert await is_blocked(engine, run.id)
        await engine.core.policies.create("first", POLICY)
        assert await run.result() == ["a", "named"]
        assert bodies == {"a": 1}
        assert "attempt.lost" not in (await run.history()).types()
        assert await engine.core.store.inbox_runs() == []
        await engine.replay_finished()


@pytest.mark.parametrize("outage", [0, 2])
@pytest.mark.parametrize("happened", [True, False])
async def test_a_policy_of_which_nobody_knows_whether_it_is_stored(
    max_parked: int, happened: bool, outage: int
) -> None:
    """When it is, the runs that wait for it go on, though whoever made it was told nothing."""
    async with engine_on(FaultyStore(Save, happened=happened, outage=outage), max_parked) as engine:
        run = await engine.start(two)
        await engine.settle()
        with pytest.raises(StoreError, match="is not known"):
            await engine.wait(engine.core.policies.create("first", POLICY))
        await engine.settle()
        assert await is_blocked(engine, run.id) is not happened
        if not happened:
            await engine.core.policies.create("first", POLICY)
        assert await run.result() == ["a", "named"]
        assert bodies == {"a": 1}


@pytest.mark.parametrize("commits", range(4))
async def test_a_policy_that_is_stored_while_a_run_blocks_for_want_of_it(max_parked: int, commits: int) -> None:
    """Neither does the run wait for ever, nor is it loaded before it is written down what it did."""
    end = asyncio.Event()

    @step
    async def waits() -> None:
        bodies["waits"] += 1
        await end.wait()

    @workflow
    async def meanwhile() -> str:
        await waits()
        return await named()

    store = SlowStore()
    async with engine_on(store, max_parked, meanwhile) as engine:
        run = await engine.start(meanwhile)
        await engine.quiesce()
        store.held = True
        creating = asyncio.ensure_future(engine.core.policies.create("first", POLICY))
        await turns()
        end.set()
        for _ in range(commits):
            await turns()
            store.let_one()
        await turns()
        store.let_all()
        await creating
        assert await asyncio.wait_for(run.result(), 20) == "named"
        assert bodies == {"waits": 1}
        assert "attempt.lost" not in (await run.history()).types()
        await engine.replay_finished()


async def test_a_cancel_waits_until_the_code_can_be_told(max_parked: int) -> None:
    """After a restart too: what was done before it is fed first, and the run blocks again by that."""
    cleaned: list[str] = []

    @workflow
    async def tidy() -> None:
        try:
            await work("a")
            await named()
        finally:
            cleaned.append(await work("clean"))

    async with engine_on(MemoryStore(), max_parked, tidy) as engine:
        run = await engine.start(tidy)
        await engine.settle()
        assert await run.cancel()
        await engine.restart()
        await engine.settle()
        assert await is_blocked(engine, run.id)
        assert cleaned == []
        await engine.core.policies.create("first", POLICY)
        await engine.settle()
        assert (await run.info()).status == "CANCELED"
        assert cleaned == ["clean"]
        assert bodies == {"a": 1, "clean": 1}
        await engine.replay_finished()


async def test_several_outcomes_are_kept_over_several_policies(max_parked: int) -> None:
    async def left() -> str:
        await work("left")
        return await named()

    async def right() -> str:
        await work("right")
        return await other()

    @workflow
    async def both() -> tuple[str, str]:
        return await asyncio.gather(left(), right())

    def takes(name: str) -> float:
        return 1 + len(name)

    async with engine_on(MemoryStore(), max_parked, both) as engine:
        engine.mock(work, side_effect=work.fn, takes=takes)
        run = await engine.start(both)
        await engine.settle()
        for policy in ("unrelated", "first", "second"):
            assert await is_blocked(engine, run.id)
            await engine.core.policies.create(policy, POLICY)
            await engine.settle()
        assert await run.result() == ("named", "other")
        assert bodies == {"left": 1, "right": 1}
        assert await engine.core.store.inbox_runs() == []
        await engine.replay_finished()


async def test_what_a_stopping_engine_interrupts_is_not_its_steps_fault() -> None:
    """DESIGN rule 12: a drain never counts."""
    end = asyncio.Event()

    @step
    async def hangs() -> None:
        await end.wait()

    async def blocks() -> None:
        await work("a")
        await named()

    @workflow
    async def both() -> None:
        await asyncio.gather(hangs(), blocks())

    engine = TestEngine(workflows=[both], max_parked=1000, drain_timeout=0)
    async with engine:
        run = await engine.start(both)
        await engine.quiesce()
        await turns()
        assert await is_blocked(engine, run.id)
    end.set()
    async with engine:
        await engine.core.policies.create("first", POLICY)
        await engine.settle()
        history = await (await engine.get_run(run.id)).history()
        assert [each.reason for each in history if each.type == "attempt.lost"] == ["drain"]
        assert history.types()[-1] == "run.succeeded"
        await engine.replay_finished()


async def test_blocked_runs_do_not_pile_up_in_memory() -> None:
    @workflow
    async def waits() -> None:
        await work("a")
        await asyncio.sleep(3600)

    async with engine_on(MemoryStore(), 3, waits) as engine:
        engine.mock(work, side_effect=work.fn, takes=1)
        runs = [await engine.start(waits) for _ in range(10)]
        await engine.quiesce()
        engine.workflows = ()
        await engine.restart()
        await engine.settle()
        assert [each.phase for each in await engine.list_runs()] == ["blocked"] * 10
        assert len(engine.core.runs) <= 3
        await engine.restart()
        await engine.settle()
        assert len(engine.core.runs) <= 3
        engine.workflows = (waits,)
        await engine.restart()
        for run in runs:
            await run.result()


# -- wherever a policy is named


@step(retry="first")
async def policed(name: str) -> str:
    return await work.fn(name)


@workflow
async def after_a_wait() -> str:
    await wait_for_signal("go")
    return await policed("after a wait")


@workflow
async def in_a_gather() -> None:
    await asyncio.gather(policed("in a gather"), work("beside it"), asyncio.sleep(30))


@workflow
async def by_run_step() -> None:
    await run_step("other name", work.fn, "by run_step", retry="first")


@workflow(retry="first")
async def child(name: str) -> str:
    return await work(name)


@workflow
async def parent() -> str:
    return await child("child")


@workflow(on="app/asked", retry="first")
async def triggered(_event: Event) -> None:
    await work("triggered")


@step(on="app/asked", retry="first")
async def triggered_step(_event: Event) -> None:
    await work.fn("triggered step")


@workflow
async def handler(_failure: RunFailure) -> None:
    await policed("handler")


@workflow(on_failure=handler)
async def fails() -> None:
    raise NonRetriableError("no")


@workflow
async def goes_on(left: int) -> str:
    if left:
        continue_as_new(left - 1)
    return await policed("goes on")


@pytest.mark.parametrize("restarts", [0, 1])
async def test_wherever_a_policy_is_named_the_run_waits_for_it(max_parked: int, restarts: int) -> None:
    workflows = [after_a_wait, in_a_gather, by_run_step, child, parent, triggered, triggered_step, fails, goes_on]
    async with engine_on(MemoryStore(), max_parked, *workflows) as engine:
        waiting = await engine.start(after_a_wait)
        for each in (in_a_gather, by_run_step, parent, fails):
            await engine.start(each)
        await engine.start(child.options(delay=100), "delayed")
        await engine.start(child.options(test=True), "test")
        await engine.start(goes_on, 2)
        await engine.send(Event("app/asked"))
        await engine.settle()
        await waiting.signal("go")
        await engine.settle()
        for _ in range(restarts):
            await engine.restart()
            await engine.settle()
        assert bodies == {}
        phases = Counter(each.phase for each in await engine.list_runs(limit=100))
        assert phases == {"blocked": 10, "waiting": 1, None: 3}, "the parent, and what has failed or gone on"
        await engine.core.policies.create("first", POLICY)
        await engine.settle()
        assert {each.status for each in await engine.list_runs(limit=100) if each.workflow != "fails"} == {"SUCCEEDED"}
        assert set(bodies.values()) == {1}
        assert len(bodies) == 11
        assert await engine.core.store.inbox_runs() == []
        await engine.replay_finished()
