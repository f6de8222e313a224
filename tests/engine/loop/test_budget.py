"""The CPU time of one activation: a warning, then an end, by a clock that the test turns."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from durably import RunFailed, workflow
from durably.engine.errors import qualified_name
from durably.engine.loop.budget import LOOK_EVERY, CpuBudget, OutOfTime
from durably.engine.loop.run_loop import RunLoop
from durably.engine.testing import VirtualClock
from durably.store.runtime import Clock
from durably.testing import TestEngine


class Computing:
    """A thread's CPU clock, and code that uses it up: no test computes for seconds."""

    def __init__(self) -> None:
        self.used_us = 0

    def clock_us(self) -> int:
        return self.used_us

    async def rounds(self, number: int, seconds: float = 0.1) -> None:
        for _ in range(number):
            self.used_us += round(seconds * 1_000_000)
            await asyncio.sleep(0)


@pytest.fixture
def computing() -> Computing:
    return Computing()


@pytest.fixture
def cpu(computing: Computing) -> CpuBudget:
    return CpuBudget(computing.clock_us, most=10)


@pytest.fixture
def loop(launch: Any, computing: Computing) -> Iterator[RunLoop]:
    """`compute-0`, `compute-1`, … are steps; their results say how many rounds to compute then."""

    async def compute(rounds: int) -> None:
        await computing.rounds(rounds)

    async def workflow(step: Any) -> str:
        for number in range(3):
            await asyncio.create_task(compute(await step(f"compute-{number}")))
        return "done"

    loop: RunLoop = launch(workflow)
    yield loop
    loop.evict()


def test_an_activation_within_its_budget_says_nothing(loop: RunLoop, cpu: CpuBudget) -> None:
    loop.drive(cpu)
    loop.resolve("0/compute-0#0", 35)
    loop.drive(cpu)
    assert cpu.warned is None


def test_a_long_activation_goes_on_with_a_warning_that_says_where(loop: RunLoop, cpu: CpuBudget) -> None:
    loop.drive(cpu)
    loop.resolve("0/compute-0#0", 100)
    assert len(loop.drive(cpu)) == 1
    assert cpu.warned is not None
    assert cpu.warned.startswith(f"{LOOK_EVERY / 10} s of CPU time, the last in asyncio task 0/0: ")
    loop.resolve("0/compute-1#0", 1)
    loop.drive(cpu)
    assert cpu.warned is None


def test_an_activation_that_goes_on_past_its_budget_ends_with_the_stack_of_its_task(
    loop: RunLoop, cpu: CpuBudget
) -> None:
    loop.drive(cpu)
    loop.resolve("0/compute-0#0", 1_000)
    with pytest.raises(
        OutOfTime,
        match=r"used 1\d\.\d s of CPU time .*asyncio task 0/0: .*compute \(.*test_budget\.py:\d+\) → "
        r"Computing\.rounds \(.*test_budget\.py:\d+\)\. Put the computing into a step",
    ):
        loop.drive(cpu)


def test_each_activation_has_a_budget_of_its_own(loop: RunLoop, cpu: CpuBudget) -> None:
    loop.drive(cpu)
    for number in range(3):
        loop.resolve(f"0/compute-{number}#0", 90)
        loop.drive(cpu)
    assert loop.outcome() == "done"


def test_without_a_budget_nothing_is_measured(loop: RunLoop) -> None:
    """As in a replay: what the code did once, it may do again."""
    loop.drive()
    loop.resolve("0/compute-0#0", 1_000)
    assert len(loop.drive()) == 1


def test_short_activations_do_not_look_at_the_clock(launch: Any) -> None:
    def clock_us() -> int:
        raise AssertionError("a look costs as much as a callback")

    async def workflow(step: Any) -> None:
        await asyncio.gather(*(step("s") for _ in range(10)))

    loop: RunLoop = launch(workflow)
    loop.drive(CpuBudget(clock_us))
    loop.evict()


# -- in an engine


class Slow(VirtualClock):
    """A look at it finds that a second has been computed since the last one."""

    used_us = 0

    def cpu_us(self) -> int:
        self.used_us += 1_000_000
        return self.used_us


class OnSlow(TestEngine):
    """An engine whose workflows compute for a second in every 32 callbacks."""

    def _make_clock(self) -> Clock:
        return Slow()


turned: list[int] = []


@workflow
async def turning(rounds: int) -> str:
    for number in range(rounds):
        turned.append(number)
        await asyncio.sleep(0)
    return "done"


@pytest.mark.anyio
async def test_a_run_that_computes_for_too_long_fails_and_its_history_is_a_good_one() -> None:
    """Though replay goes without a budget: what the code did then is not done again."""
    async with OnSlow(workflows=[turning]) as engine:
        run = await engine.start(turning, 12 * LOOK_EVERY)
        with pytest.raises(RunFailed, match=r"used 11\.0 s of CPU time .* turning \(.*test_budget\.py:\d+\)") as failed:
            await run.result()
        assert failed.value.error.type == qualified_name(OutOfTime)
        turned.clear()
        await engine.replay_finished()
        assert turned == []


@pytest.mark.anyio
async def test_a_run_that_computes_for_long_is_named_in_the_log() -> None:
    with capture_logs() as lines:
        async with OnSlow(workflows=[turning]) as engine:
            run = await engine.start(turning, 8 * LOOK_EVERY)
            assert await run.result() == "done"
    [line] = [line for line in lines if line["event"] == "workflow.slow"]
    assert (line["run_id"], line["workflow"]) == (run.id, "turning")
    assert line["used"].startswith("2.0 s of CPU time, the last in asyncio task 0: turning (")
