"""What a failure causes: written in the failed run's last commit, and so exactly once."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import Struct

from durably import DurablyError, NonRetriableError, RunFailed, step, workflow
from durably.engine.notifications.failure import RunFailure
from durably.store import MemoryStore, Operation, UnknownOutcome
from durably.store.protocol import Done
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

told: list[RunFailure] = []


@pytest.fixture(autouse=True)
def nobody_told() -> None:
    told.clear()


@step
async def tell(failure: RunFailure) -> None:
    told.append(failure)


@workflow
async def alarm(failure: RunFailure) -> str:
    await tell(failure)
    return failure.run_id


@workflow(on_failure=alarm)
async def fails(reason: str, seconds: float = 0) -> None:
    await asyncio.sleep(seconds)
    raise NonRetriableError(reason)


async def fail(engine: TestEngine, workflow: Any = fails, *args: Any) -> str:
    run = await engine.start(workflow, *args)
    with pytest.raises(RunFailed):
        await run.result()
    await engine.settle()
    return run.id


async def test_the_handler_gets_the_failure_and_is_a_run_of_its_own() -> None:
    async with TestEngine(workflows=[fails]) as engine:
        failed = await fail(engine, fails, "no more")
        [failure] = told
        assert (failure.run_id, failure.workflow, failure.input) == (
            failed,
            "fails",
            {"reason": "no more", "seconds": 0},
        )
        assert failure.error.message == "no more"
        assert failure.error.type == "durably.NonRetriableError"
        [handling] = [each for each in await engine.list_runs() if each.workflow == "alarm"]
        assert (handling.origin, handling.trigger, handling.status, handling.parent) == (
            failed,
            "CHILD",
            "SUCCEEDED",
            None,
        )


async def test_a_step_can_be_the_handler() -> None:
    @workflow(on_failure=tell)
    async def other() -> None:
        raise NonRetriableError("gone")

    async with TestEngine(workflows=[other]) as engine:
        run = await engine.start(other)
        with pytest.raises(RunFailed):
            await run.result()
        await engine.settle()
        assert [each.run_id for each in told] == [run.id]


async def test_no_handler_runs_while_retries_remain() -> None:
    @workflow(on_failure=alarm, retries=2)
    async def patient() -> None:
        raise ValueError("again")

    async with TestEngine(workflows=[patient], auto=False) as engine:
        run = await engine.start(patient)
        for seconds in (1.5, 3):  # DEFAULT waits 1 and 2 s, and up to a quarter more
            await engine.settle()
            assert ((await run.info()).status, told) == ("RUNNING", [])
            await engine.clock.advance(seconds)
        assert (await run.info()).status == "FAILED"
        await engine.settle()
        assert [each.error.message for each in told] == ["again"]


async def test_success_and_cancel_are_no_failures() -> None:
    @workflow(on_failure=alarm)
    async def sleeps(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async with TestEngine(workflows=[sleeps], auto=False) as engine:
        await engine.start(sleeps, 0.0)
        canceled = await engine.start(sleeps, 100.0)
        await engine.settle()
        await canceled.cancel()
        await engine.settle()
        assert (await canceled.info()).status == "CANCELED"
        assert told == []


async def test_a_time_limit_is_a_failure_as_any_other() -> None:
    @workflow(on_failure=alarm, timeout=10)
    async def sleeps() -> None:
        await asyncio.sleep(100)

    async with TestEngine(workflows=[sleeps]) as engine:
        await fail(engine, sleeps)
        assert [each.error.type for each in told] == ["durably.TimedOut"]


async def test_a_failing_handler_calls_nobody() -> None:
    handled: list[str] = []

    @workflow
    async def broken(failure: RunFailure) -> None:
        handled.append(failure.run_id)
        raise NonRetriableError("I fail too")

    @workflow(on_failure=broken)
    async def other() -> None:
        raise NonRetriableError("first")

    async with TestEngine(workflows=[other]) as engine:
        run = await engine.start(other)
        with pytest.raises(RunFailed):
            await run.result()
        await engine.settle()
        assert set(handled) == {run.id}
        assert len(await engine.list_runs()) == 2


async def test_the_handler_runs_once_whatever_is_killed() -> None:
    async with TestEngine(workflows=[fails]) as engine:
        failed = await fail(engine, fails, "no more")
        for _ in range(3):
            await engine.restart()
            await engine.settle()
        assert [each.run_id for each in told] == [failed]
        assert sum(each.workflow == "alarm" for each in await engine.list_runs()) == 1


@pytest.mark.parametrize("handler", [print, "alarm", object()])
def test_other_things_are_no_handlers(handler: Any) -> None:
    with pytest.raises(TypeError, match="must be a step or a workflow that takes a RunFailure"):

        @workflow(on_failure=handler)
        async def other() -> None: ...


async def test_a_handler_that_takes_something_else_is_refused_at_the_start() -> None:
    @workflow
    async def counts(failures: int) -> None: ...

    @workflow(on_failure=counts)
    async def other() -> None: ...

    with pytest.raises(DurablyError, match="on_failure of 'other' cannot be 'counts', which takes no RunFailure"):
        async with TestEngine(workflows=[other]):
            pass


async def test_a_handler_may_say_closer_what_it_takes() -> None:
    """Its own mistake if that does not fit: the handler's run fails, and nothing else."""

    class Failure(Struct):
        run_id: str
        input: dict[str, int]

    @workflow
    async def counts(failure: Failure) -> int:
        return sum(failure.input.values())

    @workflow(on_failure=counts)
    async def other(n: object) -> None:
        raise NonRetriableError(f"no {n}")

    async with TestEngine(workflows=[other]) as engine:
        await fail(engine, other, 5)
        await fail(engine, other, "five")
        misfit, fits = await engine.list_runs(workflow="counts")
        assert (fits.status, fits.output) == ("SUCCEEDED", 5)
        assert (misfit.status, misfit.error and misfit.error.type) == ("FAILED", "durably.InvalidInput")


class FaultyStore(MemoryStore):
    """Nobody knows what becomes of commit number `at`."""

    def __init__(self, at: int, *, happened: bool) -> None:
        super().__init__()
        self.at, self.happened = at, happened
        self.submitted = 0
        self.broken = False

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        self.submitted += 1
        self.broken = self.broken or self.submitted == self.at
        if not self.broken or (self.submitted == self.at and self.happened):
            super().submit(batch, (lambda _: None) if self.broken else done)
        if self.broken:
            asyncio.get_running_loop().call_soon(done, UnknownOutcome("EIO"))

    async def reopen(self) -> None:
        await super().reopen()
        self.broken = False


@pytest.mark.parametrize("happened", [True, False])
async def test_the_handler_runs_once_whatever_nobody_knows(happened: bool) -> None:
    at, store = 1, FaultyStore(0, happened=happened)
    while at <= store.submitted + 1:
        at, store = at + 1, FaultyStore(at + 1, happened=happened)  # the first one is the start's
        engine = TestEngine(workflows=[fails])
        engine.use_store(store)
        async with engine:
            failed = await fail(engine, fails, "no more", 5)
            assert {each.run_id for each in told} == {failed}
            runs = Counter((each.workflow, each.status) for each in await engine.list_runs())
            assert runs == {("fails", "FAILED"): 1, ("alarm", "SUCCEEDED"): 1}, at
        told.clear()
    assert at > 5
