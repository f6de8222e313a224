"""Killed at every commit in turn, a run ends as if nothing had happened (DESIGN rules 1, 7, 12)."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from durably import History, RetryPolicy, Run, RunFailed, StepError, Workflow, current, step, workflow
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


Mocks = Callable[[TestEngine], None]


async def untouched(started: Workflow[..., Any], *args: Any, max_parked: int, mocks: Mocks) -> tuple[str, int]:
    """The history of a run that nothing happens to, exported, and how many commits it took."""
    store = DeadlyStore(0, happened=True)
    engine = TestEngine(workflows=[started], max_parked=max_parked)
    engine.use_store(store)
    async with engine:
        mocks(engine)
        run: Run[Any] = await engine.start(started, *args, run_id="run")
        await engine.settle()
        return (await run.history()).to_json(), store.commits


async def killed(
    started: Workflow[..., Any], *args: Any, dies_at: int, happened: bool, max_parked: int, mocks: Mocks
) -> tuple[Any, History]:
    """What comes of a run whose engine dies at that commit and is started again; and its history."""
    store = DeadlyStore(dies_at, happened=happened)
    engine = TestEngine(workflows=[started], max_parked=max_parked)
    engine.use_store(store)
    async with engine:
        mocks(engine)
        starting = asyncio.ensure_future(engine.start(started, *args, run_id="run"))
        await engine.wait(store.died)
        starting.cancel()
        await engine.restart()
        # Whoever started it has not heard of it, and asks again with the same id.
        run: Run[Any] = await engine.start(started, *args, run_id="run")
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

    def perform_counted(branch: int, place: int) -> list[int]:
        calls[f"{branch}/{place}"] += 1
        return [branch, place]

    durations = [times.uniform(1, 100) for _ in range(20)]

    def takes(branch: int, place: int) -> float:
        return durations[2 * branch + place]

    engine.mock(work, side_effect=perform_counted, takes=takes)


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
        outcome, history = await killed(
            ten_sequences, dies_at=dies_at, happened=happened, max_parked=max_parked, mocks=mocks
        )
        assert outcome == EXPECTED, dies_at
        assert executions_are_covered(history, calls)
        ended = Counter(each.step for each in history if each.type == "step.succeeded")
        assert ended == {f"0/{branch}/work#{place}": 1 for branch in range(10) for place in range(2)}


async def test_those_commits_are_all_there_are() -> None:
    mocks = partial(mock_work, calls=Counter(), times=random.Random(0))  # noqa: S311 - repeatable on purpose
    assert (await untouched(ten_sequences, max_parked=100, mocks=mocks))[1] == 21


# -- small workflows of any shape


class Plan(Struct, frozen=True):
    """A part of a workflow: `kind` is a step, a sleep, a sequence, a gather, or one with a time limit."""

    kind: str
    number: float = 0
    """A step's failures before it succeeds, or a duration."""
    takes: float = 0
    parts: tuple["Plan", ...] = ()


RETRIED = RetryPolicy(2, backoff="fixed", delay=10, jitter=0.5)


@step(retry=RETRIED)
async def perform(failures: float, takes: float) -> str:
    if current().attempt < failures:
        raise ConnectionError(f"attempt {current().attempt}")
    return f"done after {failures} failures in {takes} s"


async def perform_or_not(plan: Plan) -> str:
    try:
        return await perform(plan.number, plan.takes)
    except StepError as error:
        return error.message


async def carry_out(plan: Plan) -> str:
    result: Any = plan.kind
    match plan.kind:
        case "step":
            result = await perform_or_not(plan)
        case "sleep":
            await asyncio.sleep(plan.number)
        case "limit":
            try:
                async with asyncio.timeout(plan.number):
                    result = await carry_out(plan.parts[0])
            except TimeoutError:
                result = "too late"
        case "gather":
            result = await asyncio.gather(*map(carry_out, plan.parts))
        case _:
            result = [await carry_out(part) for part in plan.parts]
    return str(result)


@workflow(retry=RETRIED)
async def planned(plan: Plan) -> str:
    result = await carry_out(plan)
    if current().attempt < 1:
        raise ConnectionError("once more")
    return result


def without_ties(plan: Plan, number: Iterator[int]) -> Plan:
    """Two things at the very same microsecond may come in either order: let no two durations be equal."""
    offset = next(number) * 0.001_037
    return replace(
        plan,
        number=plan.number + offset if plan.kind in {"sleep", "limit"} and plan.number else plan.number,
        takes=plan.takes + offset if plan.takes else 0,
        parts=tuple(without_ties(part, number) for part in plan.parts),
    )


def mock_perform(engine: TestEngine) -> None:
    def takes(_failures: float, takes: float) -> float:
        return takes

    engine.mock(perform, side_effect=perform.fn, takes=takes)


DURATIONS = st.sampled_from([0.0, 1.0, 5.0, 700.0])
STEPS = st.builds(Plan, st.just("step"), st.sampled_from([0, 0, 1, 2, 3]), DURATIONS)
LEAVES = STEPS | st.builds(Plan, st.just("sleep"), DURATIONS)


def plans(*, limits: bool) -> st.SearchStrategy[Plan]:
    def larger(smaller: st.SearchStrategy[Plan]) -> st.SearchStrategy[Plan]:
        parts = st.lists(smaller, min_size=1, max_size=3).map(tuple)
        several = st.builds(Plan, st.sampled_from(["gather", "sequence"]), parts=parts)
        limited = st.builds(Plan, st.just("limit"), st.sampled_from([3.0, 15.0]), parts=st.tuples(smaller))
        return several | limited if limits else several

    return st.recursive(LEAVES, larger, max_leaves=6)


QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@settings(QUICK, max_examples=25)
@given(plans(limits=True))
async def test_eviction_at_every_wait_changes_nothing_in_the_log(plan: Plan) -> None:
    plan = without_ties(plan, count(1))
    evicted, _ = await untouched(planned, plan, max_parked=0, mocks=mock_perform)
    kept, _ = await untouched(planned, plan, max_parked=10_000, mocks=mock_perform)
    assert evicted == kept


@settings(QUICK, max_examples=6)
@given(plans(limits=False), st.booleans())
async def test_a_kill_at_any_commit_changes_nothing_in_the_outcome(plan: Plan, happened: bool) -> None:
    """Without time limits: a step that starts anew takes its time anew."""
    untouched_history, commits = await untouched(planned, plan, max_parked=0, mocks=mock_perform)
    expected = History.from_json(untouched_history).records[-1].output
    for dies_at in range(1, commits + 1):
        outcome, history = await killed(
            planned, plan, dies_at=dies_at, happened=happened, max_parked=0, mocks=mock_perform
        )
        assert outcome == expected
        assert [each.seq for each in history] == list(range(1, len(history) + 1))
