"""Killed at every commit in turn, a run ends as if nothing had happened (DESIGN rules 1, 7, 12)."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durably import History, NonRetriableError, RetryPolicy, RunFailed, StepError, Workflow, step, workflow
from durably.store import MemoryStore, Operation
from durably.store.protocol import Done
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio


class DeadlyStore(MemoryStore):
    """The process dies at commit number `dies_at`, before or after it happened: nobody hears of it any
    more."""

    def __init__(self, dies_at: int, *, happened: bool) -> None:
        super().__init__()
        self.dies_at = dies_at
        self.happened = happened
        self.commits = 0
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        self.commits += 1
        if self.commits != self.dies_at:
            super().submit(batch, done)
            return
        if self.happened:
            super().submit(batch, lambda _: None)
        asyncio.get_running_loop().call_soon(self.died.set_result, None)


async def commits_of(started: Workflow[..., Any], max_parked: int, mocks: Any) -> int:
    """How many commits a run takes when nothing happens to it."""
    store = DeadlyStore(0, happened=True)
    engine = TestEngine(workflows=[started], max_parked=max_parked)
    engine.use_store(store)
    async with engine:
        mocks(engine)
        await engine.start(started, run_id="run")
        await engine.settle()
    return store.commits


async def killed(
    started: Workflow[..., Any], dies_at: int, *, happened: bool, max_parked: int, mocks: Any
) -> tuple[Any, History]:
    """What comes of a run whose engine dies at that commit and is started again; and its history."""
    store = DeadlyStore(dies_at, happened=happened)
    engine = TestEngine(workflows=[started], max_parked=max_parked)
    engine.use_store(store)
    async with engine:
        mocks(engine)
        starting = asyncio.ensure_future(engine.start(started, run_id="run"))
        await engine.wait(store.died)
        starting.cancel()
        await engine.restart()
        # Whoever started it has not heard of it, and asks again with the same id.
        run = await engine.start(started, run_id="run")
        try:
            outcome = await run.result()
        except RunFailed as failed:
            outcome = failed.error.type
        await engine.replay_finished()
        return outcome, await run.history()


def executions_are_covered(history: History, calls: Counter[str]) -> bool:
    """Every execution of a body has its start in the log, and none came after a recorded success."""
    starts = Counter(each.step for each in history if each.type == "attempt.started")
    ends = {each.step: each.seq for each in history if each.type == "step.succeeded"}
    later = [each for each in history if each.type == "attempt.started" and each.seq > ends.get(each.step, each.seq)]
    return sum(calls.values()) <= sum(starts.values()) and not later


# -- ten sequences of the same step


@step
async def work(branch: int, place: int) -> list[int]:
    return [branch, place]


async def sequence(branch: int) -> list[list[int]]:
    return [await work(branch, 0), await work(branch, 1)]


@workflow
async def ten_sequences() -> list[list[list[int]]]:
    return await asyncio.gather(*(sequence(branch) for branch in range(10)))


def mock_work(engine: TestEngine, calls: Counter[str], times: random.Random) -> None:
    """Count the bodies, and let each last another time: no two end in one commit."""

    def count(branch: int, place: int) -> list[int]:
        calls[f"{branch}/{place}"] += 1
        return [branch, place]

    durations = [times.uniform(1, 100) for _ in range(20)]
    engine.mock(work, side_effect=count, takes=lambda branch, place: durations[2 * branch + place])


EXPECTED = [[[branch, 0], [branch, 1]] for branch in range(10)]


@pytest.mark.parametrize("happened", [True, False])
@pytest.mark.parametrize("max_parked", [0, 100])
async def test_ten_sequences_of_the_same_step_resume_with_every_result_in_its_place(
    *, happened: bool, max_parked: int
) -> None:
    """Issue 2: "50 of 50 times". Here in 84 ways: at each of 21 commits, each time in another order of
    ends."""
    times = random.Random(0)  # noqa: S311 - repeatable on purpose
    for dies_at in range(1, 22):
        calls: Counter[str] = Counter()
        mocks = partial(mock_work, calls=calls, times=times)
        outcome, history = await killed(ten_sequences, dies_at, happened=happened, max_parked=max_parked, mocks=mocks)
        assert outcome == EXPECTED, dies_at
        assert executions_are_covered(history, calls)
        ended = Counter(each.step for each in history if each.type == "step.succeeded")
        assert ended == {f"0/{branch}/work#{place}": 1 for branch in range(10) for place in range(2)}


async def test_those_commits_are_all_there_are() -> None:
    times = random.Random(0)  # noqa: S311 - repeatable on purpose
    assert await commits_of(ten_sequences, 100, partial(mock_work, calls=Counter(), times=times)) == 21
