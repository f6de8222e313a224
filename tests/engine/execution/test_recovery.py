"""Going on after a process has died (DESIGN rule 12): what is lost, what starts again, and who is to
blame."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from durably import (
    Engine,
    History,
    RetryPolicy,
    Run,
    RunCanceled,
    RunFailed,
    WorkerLost,
    Workflow,
    current,
    step,
    workflow,
)
from durably.store import Append, MemoryStore, Operation, UnknownOutcome
from durably.store.protocol import Done
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

FIXED = RetryPolicy(4, backoff="fixed", delay=60, jitter=0)


class Gate:
    """Step bodies that hang until they are let through, and what was seen of them."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.opened: set[str] = set()
        self._change = asyncio.Event()

    def open(self, *names: str) -> None:
        self.opened |= set(names)
        self._change.set()
        self._change = asyncio.Event()

    async def pass_through(self, name: str) -> str:
        self.started.append(name)
        while name not in self.opened:
            await self._change.wait()
        return name


@step
async def guarded(name: str) -> str:
    return await current().resource(Gate).pass_through(name)


@step(on_lost="fail")
async def only_once(name: str) -> str:
    return await current().resource(Gate).pass_through(name)


@workflow
async def one(name: str) -> str:
    return await guarded(name)


@workflow
async def together(names: list[str]) -> list[str]:
    results = await asyncio.gather(*(guarded(name) for name in names), return_exceptions=True)
    return [f"{type(each).__name__}" if isinstance(each, BaseException) else each for each in results]


@workflow
async def never_twice(name: str) -> str:
    return await only_once(name)


@workflow
async def never_twice_but_caught(name: str) -> str:
    try:
        return await only_once(name)
    except WorkerLost as lost:
        return f"lost: {lost.step}"


WORKFLOWS: list[Workflow[..., Any]] = [one, together, never_twice, never_twice_but_caught]


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def engine(gate: Gate) -> AsyncIterator[TestEngine]:
    async with TestEngine(workflows=WORKFLOWS, resources={Gate: gate}, drain_timeout=0) as engine:
        yield engine


def shape(history: History, *fields: str) -> list[tuple[Any, ...]]:
    """The records about attempts, as far as they are of interest."""
    kinds = {"attempt.started", "attempt.lost", "attempt.failed", "step.succeeded", "step.failed"}
    return [(each.type, *(each.get(name) for name in fields)) for each in history if each.type in kinds]


async def bodies(engine: TestEngine) -> None:
    """Let the bodies that can go on do so, and the engine with what they give."""
    for _ in range(10):
        await engine.quiesce()


# -- one step, lost with its process


async def test_a_lost_attempt_starts_again_under_the_same_number(engine: TestEngine, gate: Gate) -> None:
    run = await engine.start(one, "a")
    await engine.quiesce()
    await engine.restart()
    await engine.quiesce()
    gate.open("a")
    assert await run.result() == "a"
    assert shape(await run.history(), "attempt", "start", "reason") == [
        ("attempt.started", 0, 0, None),
        ("attempt.lost", 0, 0, "crash"),
        ("attempt.started", 0, 1, None),
        ("step.succeeded", 0, None, None),
    ]
    assert (await run.info()).tasks == 1
    assert gate.started == ["a", "a"]


async def test_a_crash_uses_up_no_retry() -> None:
    seen: list[tuple[int, int]] = []

    @step(retry=RetryPolicy(1, backoff="fixed", delay=60, jitter=0))
    async def flaky() -> str:
        seen.append((current().attempt, current().max_attempts))
        if len(seen) == 1:
            await asyncio.Event().wait()  # the process dies here
        if len(seen) == 2:
            raise ConnectionError
        return "done"

    @workflow
    async def sync() -> str:
        return await flaky()

    async with TestEngine(workflows=[sync], drain_timeout=0) as engine:
        run = await engine.start(sync)
        await engine.quiesce()
        await engine.restart()
        assert await run.result() == "done"
    assert seen == [(0, 2), (0, 2), (1, 2)]


@pytest.mark.parametrize("max_parked", [0, 100])
async def test_a_step_that_fails_twice_shows_three_attempts_and_one_task(max_parked: int) -> None:
    """And a kill in the middle of a wait changes neither the attempt's number nor the due time."""

    @step(retry=FIXED)
    async def flaky() -> str:
        return "done"

    @workflow
    async def sync() -> str:
        return await flaky()

    async with TestEngine(workflows=[sync], max_parked=max_parked) as engine:
        began = engine.clock.now()
        mock = engine.mock(flaky, raises=[ConnectionError(), ConnectionError()], returns="done")
        run = await engine.start(sync)
        await engine.clock.advance(75)  # the second attempt failed at 60, the third is due at 120
        due = (await run.info()).next_retry_at
        await engine.restart()
        await engine.clock.advance(0)
        assert (await run.info()).next_retry_at == due == began + timedelta(seconds=120)
        assert (await run.info()).phase == "retrying"
        assert await run.result() == "done"
        history, info = await run.history(), await run.info()
    starts = [each for each in history if each.type == "attempt.started"]
    assert [each.attempt for each in starts] == [0, 1, 2]
    assert [(each.at - began).total_seconds() for each in starts] == [0, 60, 120]
    assert "attempt.lost" not in history.types()
    assert (info.tasks, len(mock.calls)) == (1, 3)


async def test_a_retry_that_came_due_while_nobody_was_there_starts_at_once() -> None:
    @step(retry=FIXED)
    async def flaky() -> str:
        return "done"

    @workflow
    async def sync() -> str:
        return await flaky()

    async with TestEngine(workflows=[sync]) as engine:
        engine.mock(flaky, raises=[ConnectionError(), None], returns="done")
        run = await engine.start(sync)
        await engine.clock.advance(1)
        await engine.core.abandon()
        await engine.clock.advance(3600)
        came_back = engine.clock.now()
        await engine.restart()
        assert await run.result() == "done"
        assert engine.clock.now() == came_back


async def test_two_kills_in_one_wait_are_as_one() -> None:
    @workflow
    async def sleeper() -> str:
        await asyncio.sleep(3600)
        return "awake"

    async with TestEngine(workflows=[sleeper]) as engine:
        began = engine.clock.now()
        run = await engine.start(sleeper)
        for _ in range(2):
            await engine.clock.advance(1000)
            await engine.restart()
        assert await run.result() == "awake"
        assert engine.clock.now() - began == timedelta(hours=1)
        assert (await run.history()).types().count("timer.set") == 1


async def test_what_was_known_when_the_process_died_is_not_done_again(engine: TestEngine, gate: Gate) -> None:
    gate.open("a")
    run = await engine.start(together, ["a", "b"])
    await engine.quiesce()
    await engine.restart()
    gate.open("b")
    assert await run.result() == ["a", "b"]
    assert gate.started == ["a", "b", "b"]


# -- drain and fencing


async def test_a_drained_attempt_is_lost_and_never_the_steps_fault(gate: Gate) -> None:
    store = MemoryStore()
    run: Run[str] | None = None
    for _ in range(5):  # more than max_lost
        engine = TestEngine(workflows=WORKFLOWS, resources={Gate: gate}, drain_timeout=0)
        engine.use_store(store)
        async with engine:
            run = await engine.get_run(run.id, one) if run is not None else await engine.start(one, "a")
            await engine.quiesce()
    last = TestEngine(workflows=WORKFLOWS, resources={Gate: gate})
    last.use_store(store)
    gate.open("a")
    async with last:
        assert run is not None
        run = await last.get_run(run.id, one)
        assert await run.result() == "a"
        found = shape(await run.history(), "start", "reason")
    assert found == [
        *(pair for n in range(5) for pair in [("attempt.started", n, None), ("attempt.lost", n, "drain")]),
        ("attempt.started", 5, None),
        ("step.succeeded", None, None),
    ]


async def test_a_drain_waits_for_steps_that_end_in_time(gate: Gate) -> None:
    store = MemoryStore()

    @workflow
    async def two() -> list[str]:
        return [await guarded("a"), await guarded("b")]

    engine = TestEngine(workflows=[two], resources={Gate: gate}, drain_timeout=30)
    engine.use_store(store)
    async with engine:
        run = await engine.start(two)
        await engine.quiesce()
        asyncio.get_running_loop().call_soon(gate.open, "a")
    assert gate.started == ["a"], "no step starts while the engine stops"
    gate.open("b")
    again = TestEngine(workflows=[two], resources={Gate: gate})
    again.use_store(store)
    async with again:
        run = await again.get_run(run.id, two)
        assert await run.result() == ["a", "b"]
        assert shape(await run.history(), "name", "start") == [
            ("attempt.started", "guarded", 0),
            ("step.succeeded", "guarded", None),
            ("attempt.started", "guarded", 0),
            ("step.succeeded", "guarded", None),
        ]
        assert (await run.info()).tasks == 2


class ForgetfulStore(MemoryStore):
    """Its first commits happen, and nobody is told."""

    forgets = 6

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        if self.forgets:
            self.forgets -= 1
            super().submit(batch, lambda _: None)
            asyncio.get_running_loop().call_soon(done, UnknownOutcome("EIO"))
        else:
            super().submit(batch, done)


async def test_a_fenced_attempt_is_lost_and_never_the_steps_fault(gate: Gate) -> None:
    """Its start is in the log, its body never ran: the session that wrote it had ended before it could
    know."""
    gate.open("a")
    engine = TestEngine(workflows=WORKFLOWS, resources={Gate: gate})
    engine.use_store(ForgetfulStore())
    async with engine:
        run = await engine.start(one, "a")
        assert await run.result() == "a"
        losses = [each for each in await run.history() if each.type == "attempt.lost"]
    assert [each.reason for each in losses] == ["fenced"] * len(losses)
    assert len(losses) > 3
    assert gate.started == ["a"]


class FailingStore(MemoryStore):
    """When told to, it does not carry out the next batch with an append, and nobody knows."""

    fails = False

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        if self.fails and any(isinstance(each, Append) for each in batch):
            self.fails = False
            asyncio.get_running_loop().call_soon(done, UnknownOutcome("EIO"))
        else:
            super().submit(batch, done)


async def test_a_cancel_is_not_lost_when_its_commit_fails(gate: Gate) -> None:
    """It was acknowledged; the group that takes it out of the inbox is tried again."""
    store = FailingStore()
    engine = TestEngine(workflows=WORKFLOWS, resources={Gate: gate}, drain_timeout=0)
    engine.use_store(store)
    async with engine:
        run = await engine.start(one, "a")
        await engine.quiesce()
        store.fails = True
        assert await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        assert not store.fails
        assert await store.inbox_runs() == []


# -- who kills the process


async def test_suspects_start_one_at_a_time(engine: TestEngine, gate: Gate) -> None:
    run = await engine.start(together, ["a", "b", "c"])
    for _ in range(2):
        await engine.quiesce()
        await engine.restart()
    await engine.quiesce()
    assert gate.started == ["a", "b", "c"] * 2 + ["a"]
    info = await run.info()
    assert info.phase == "queued"
    gate.open("a")
    await bodies(engine)
    assert gate.started[6:] == ["a", "b"]
    gate.open("b")
    await bodies(engine)
    assert gate.started[6:] == ["a", "b", "c"]
    gate.open("c")
    assert await run.result() == ["a", "b", "c"]


async def test_suspects_of_different_runs_start_one_at_a_time(engine: TestEngine, gate: Gate) -> None:
    runs = [await engine.start(one, name) for name in ("a", "b")]
    for _ in range(2):
        await engine.quiesce()
        await engine.restart()
    await engine.quiesce()
    assert gate.started[4:] == ["a"]
    gate.open("a", "b")
    assert [await run.result() for run in runs] == ["a", "b"]


async def test_others_start_beside_a_suspect(engine: TestEngine, gate: Gate) -> None:
    suspect = await engine.start(one, "a")
    for _ in range(2):
        await engine.quiesce()
        await engine.restart()
    await engine.quiesce()
    gate.open("b")
    assert await (await engine.start(one, "b")).result() == "b"
    gate.open("a")
    assert await suspect.result() == "a"


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_the_poison_step_is_found_and_no_innocent_is_blamed(engine: TestEngine, gate: Gate, place: int) -> None:
    """Whichever of the three it is: the others get their results."""
    names = ["a", "b", "c"]
    poison = names[place]
    run = await engine.start(together, names)
    before = 0
    for _ in range(10):
        await bodies(engine)
        if await run.status() != "RUNNING":
            break
        running = gate.started[before:]
        if poison in running:
            before = len(gate.started)
            await engine.restart()  # it has killed the process, and the others in it
        else:
            gate.open(*running)
    expected = [name if name != poison else "WorkerLost" for name in names]
    assert await run.result() == expected
    failed = [each for each in await run.history() if each.type == "step.failed"]
    assert [each.lost for each in failed] == [True]
    losses = [each for each in await run.history() if each.type == "attempt.lost" and each.step == failed[0].step]
    assert [each.start for each in losses] == [0, 1, 2]


async def test_worker_lost_says_what_happened(engine: TestEngine, gate: Gate) -> None:
    run = await engine.start(one, "a")
    for _ in range(3):
        await engine.quiesce()
        await engine.restart()
    with pytest.raises(RunFailed) as failed:
        await run.result()
    error = failed.value.error
    assert error.type == "durably.WorkerLost"
    assert "durably.StepError" in error.types
    assert "step 'guarded' failed after 1 attempt" in error.message
    assert "its process died 3 times in a row while it ran" in error.message
    assert "the last time while it was the only suspect running" in error.message
    assert len(gate.started) == 3


@pytest.mark.parametrize("max_lost", [1, 2, 4])
async def test_max_lost_is_a_setting(gate: Gate, max_lost: int) -> None:
    async with TestEngine(workflows=WORKFLOWS, resources={Gate: gate}, drain_timeout=0, max_lost=max_lost) as engine:
        run = await engine.start(one, "a")
        for _ in range(max_lost):
            await engine.quiesce()
            assert await run.status() == "RUNNING"
            await engine.restart()
        with pytest.raises(RunFailed, match="WorkerLost"):
            await run.result()
    assert len(gate.started) == max_lost


async def test_an_attempt_that_ends_ends_the_row_of_losses() -> None:
    starts: list[int] = []

    @step(retry=FIXED)
    async def flaky() -> str:
        starts.append(current().attempt)
        if len(starts) in {1, 2, 4, 5}:
            await asyncio.Event().wait()  # the process dies
        if len(starts) == 3:
            raise ConnectionError
        return "done"

    @workflow
    async def sync() -> str:
        return await flaky()

    async with TestEngine(workflows=[sync], drain_timeout=0) as engine:
        run = await engine.start(sync)
        for _ in range(2):
            await engine.quiesce()
            await engine.restart()
        await engine.quiesce()
        await engine.clock.advance(60)
        for _ in range(2):
            await engine.quiesce()
            await engine.restart()
        assert await run.result() == "done"
    assert starts == [0, 0, 0, 1, 1, 1]  # four losses, never three in a row


# -- what must never run twice


async def test_on_lost_fail_ends_the_step_with_the_first_crash(engine: TestEngine, gate: Gate) -> None:
    run = await engine.start(never_twice, "a")
    await engine.quiesce()
    await engine.restart()
    with pytest.raises(RunFailed, match="on_lost='fail' forbids to run it again"):
        await run.result()
    assert gate.started == ["a"]


async def test_on_lost_fail_can_be_caught(engine: TestEngine) -> None:
    run = await engine.start(never_twice_but_caught, "a")
    await engine.quiesce()
    await engine.restart()
    assert await run.result() == "lost: only_once"


async def test_on_lost_fail_and_a_drain(gate: Gate) -> None:
    """Running it a second time is what it forbids, whatever ended the first."""
    store = MemoryStore()
    engine = TestEngine(workflows=WORKFLOWS, resources={Gate: gate}, drain_timeout=0)
    engine.use_store(store)
    async with engine:
        run = await engine.start(never_twice_but_caught, "a")
        await engine.quiesce()
    again = TestEngine(workflows=WORKFLOWS, resources={Gate: gate})
    again.use_store(store)
    async with again:
        run = await again.get_run(run.id, never_twice_but_caught)
        assert await run.result() == "lost: only_once"
    assert gate.started == ["a"]


async def test_on_lost_fail_does_not_forbid_retries() -> None:
    """An attempt that raised is known to have ended."""
    attempts: list[int] = []

    @step(on_lost="fail", retry=FIXED)
    async def charge() -> str:
        attempts.append(current().attempt)
        if current().attempt == 0:
            raise ConnectionError
        return "charged"

    @workflow
    async def pay() -> str:
        return await charge()

    async with TestEngine(workflows=[pay]) as engine:
        run = await engine.start(pay)
        await engine.clock.advance(1)
        await engine.restart()
        assert await run.result() == "charged"
    assert attempts == [0, 1]


# -- on a real file


async def test_a_real_engine_goes_on_after_a_crash(tmp_path: Any, gate: Gate) -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[dict[type[Any], Any]]:
        yield {Gate: gate}

    url = f"sqlite:///{tmp_path / 'crash.db'}"
    engine = Engine(url, workflows=WORKFLOWS, lifespan=lifespan)
    gate.open("a")
    async with engine:
        run = await engine.start(together, ["a", "b"])
        async with asyncio.timeout(5):
            while "step.succeeded" not in (await run.history()).types():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
        await engine.core.abandon()
    async with Engine(url, workflows=WORKFLOWS, lifespan=lifespan) as again:
        gate.open("b")
        assert await (await again.get_run(run.id, together)).result(timeout=5) == ["a", "b"]
    assert gate.started == ["a", "b", "b"]
