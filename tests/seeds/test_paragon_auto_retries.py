"""The first seed, "Auto-Retries" of Paragon, sentence by sentence: each test quotes the one it proves.

The sentences about error e-mails are in `test_paragon_task_history`. Left out: those about the editor's buttons.
"""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from durably import History, RetryPolicy, RunFailed, run_step, step, workflow
from durably.testing import TestEngine
from tests.seeds.checklist import row

pytestmark = pytest.mark.anyio

SCHEDULE = (10, 20, 30, 50, 80)
"""Seconds before the five retries. "Around" is up to 10 % more (DESIGN section 5)."""
SECOND = timedelta(seconds=1)


class Service:
    """Something outside that fails a number of times and then answers."""

    def __init__(self, failures: int = 10**9) -> None:
        self.failures = failures
        self.calls = 0

    async def call(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError("429 Too Many Requests")
        return "answer"


def gaps(history: History) -> list[float]:
    """Seconds from the end of each failed attempt to the start of the next one."""
    ends = [each.at for each in history if each.type == "attempt.failed"]
    starts = [each.at for each in history if each.type == "attempt.started"]
    return [(start - end) / SECOND for end, start in zip(ends, starts[1:], strict=False)]


def assert_around(found: list[float]) -> None:
    assert all(wait <= gap <= wait * 1.1 for gap, wait in zip(found, SCHEDULE, strict=False)), found


# -- "Overview"


@row("P-1", "When auto-retry is enabled on a step, the step automatically retries if the step execution fails.")
async def test_a_step_retries_by_itself_when_its_execution_fails() -> None:
    """When auto-retry is enabled on a step, the step automatically retries if the step execution fails."""
    service = Service(1)

    @step(retry=RetryPolicy.AUTO_RETRY)
    async def request() -> str:
        return await service.call()

    @workflow
    async def sync() -> str:
        return await request()

    async with TestEngine(workflows=[sync]) as engine:
        assert await (await engine.start(sync)).result() == "answer"
    assert service.calls == 2


@row(
    "P-13",
    "... useful for ensuring your workflows run successfully when encountering intermittent errors, such as API rate "
    "limits.",
)
async def test_intermittent_errors_do_not_fail_the_workflow() -> None:
    """This is useful for ensuring your workflows run successfully when encountering intermittent errors,
    such as API rate limits."""
    services = [Service(failures) for failures in (1, 3, 5)]

    @workflow
    async def sync() -> list[str]:
        return [await run_step("request", each.call, retry=RetryPolicy.AUTO_RETRY) for each in services]

    async with TestEngine(workflows=[sync]) as engine:
        assert await (await engine.start(sync)).result() == ["answer"] * 3
    assert [each.calls for each in services] == [2, 4, 6]


@row("P-2", "Auto-retry is available on the following step types: Integrations, Request, Function")
async def test_it_is_available_on_steps_of_every_kind() -> None:
    """Auto-retry is available on the following step types: Integrations, Request, Function"""
    calls: list[str] = []

    def fail_once(kind: str) -> str:
        calls.append(kind)
        if calls.count(kind) == 1:
            raise ValueError(kind)
        return kind

    class Integration:
        @step(retry=RetryPolicy.AUTO_RETRY)
        async def upsert(self) -> str:
            return fail_once("integration")

    @step(retry=RetryPolicy.AUTO_RETRY)
    async def request() -> str:
        return fail_once("request")

    @step(retry=RetryPolicy.AUTO_RETRY)
    def function() -> str:
        return fail_once("function")

    @workflow
    async def sync() -> list[str]:
        return [await Integration().upsert(), await request(), await function()]

    async with TestEngine(workflows=[sync]) as engine:
        assert await (await engine.start(sync)).result() == ["integration", "request", "function"]
    assert sorted(calls) == ["function", "function", "integration", "integration", "request", "request"]


async def failing_run(failures: int, takes: float = 0) -> tuple[History, Any]:
    """A run of one auto-retried step that fails so many times, each attempt taking `takes` seconds."""

    @step(retry=RetryPolicy.AUTO_RETRY)
    async def request() -> str:
        return "answer"

    @workflow
    async def sync() -> str:
        return await request()

    async with TestEngine(workflows=[sync]) as engine:
        mock = engine.mock(request, raises=[ConnectionError("down")] * failures, returns="answer", takes=takes)
        run = await engine.start(sync)
        await engine.settle()
        assert len(mock.calls) == min(failures, 5) + 1
        return await run.history(), await run.info()


async def test_it_waits_after_each_failed_execution() -> None:
    """If a step with auto-retry enabled fails, Paragon will perform several retries, waiting after each
    failed execution before performing the next attempt."""
    history, _ = await failing_run(5)
    assert history.types() == [
        "run.created",
        "run.started",
        "attempt.started",
        *["attempt.failed", "attempt.started"] * 5,
        "step.succeeded",
        "run.succeeded",
    ]
    assert all(gap >= 10 for gap in gaps(history))


@row("P-5", "All attempts will only count as one task used.")
async def test_all_attempts_count_as_one_task() -> None:
    """All attempts will only count as **one** task used."""
    assert (await failing_run(3))[1].tasks == 1
    assert (await failing_run(6))[1].tasks == 1  # also when the step fails for good


@row("P-3", "1st retry: around 10 seconds after initial attempt ... 5th retry: around 80 seconds after 4th retry")
@pytest.mark.parametrize("retry", range(1, 6))
async def test_the_timing_of_the_retry_attempts(retry: int) -> None:
    """1st retry: around `10 seconds` after initial attempt … 5th retry: around `80 seconds` after 4th
    retry"""
    history, _ = await failing_run(retry)
    found = gaps(history)
    assert len(found) == retry
    assert_around(found)


@pytest.mark.parametrize("takes", [7.0, 100.0])
async def test_each_wait_counts_from_the_end_of_the_attempt_before(takes: float) -> None:
    """2nd retry: around `20 seconds` after 1st retry (how long that one took does not shorten the wait)"""
    history, _ = await failing_run(5, takes)
    assert_around(gaps(history))
    starts = [each.at for each in history if each.type == "attempt.started"]
    between = [(after - before) / SECOND for before, after in pairwise(starts)]
    assert_around([gap - takes for gap in between])


# -- "Enabling Auto-Retry"


@row("P-6", "Enabling auto-retry only retries the specific step, not your entire workflow.")
async def test_only_the_specific_step_is_retried() -> None:
    """Enabling auto-retry only retries the **specific step**, not your entire workflow."""
    before, failing, after, bodies = Service(0), Service(2), Service(0), Service(0)

    @step
    async def first() -> str:
        return await before.call()

    @step(retry=RetryPolicy.AUTO_RETRY)
    async def second() -> str:
        return await failing.call()

    @step
    async def third() -> str:
        return await after.call()

    @workflow
    async def sync() -> None:
        bodies.calls += 1
        await first()
        await second()
        await third()

    # Kept in memory, so that the body is executed once and not rebuilt by replay at every wait.
    async with TestEngine(workflows=[sync], max_parked=10) as engine:
        await (await engine.start(sync)).result()
    assert (before.calls, failing.calls, after.calls, bodies.calls) == (1, 3, 1, 1)


@row("P-7", "To enable auto-retry for a step, click on the step ... and toggle auto-retry.")
async def test_a_step_without_auto_retry_is_not_retried() -> None:
    """To enable auto-retry for a step, … (it is the step's own setting)"""
    service = Service()

    @step(retry=RetryPolicy.NEVER)
    async def request() -> str:
        return await service.call()

    @workflow(retry=RetryPolicy.AUTO_RETRY)
    async def sync() -> str:
        return await request()

    async with TestEngine(workflows=[sync]) as engine:
        with pytest.raises(RunFailed):
            await (await engine.start(sync)).result()
    assert service.calls == 1


# -- "How Auto-Retry works"


@row("P-4", "Paragon attempts to run your step up to five times with an exponential back-off.")
async def test_a_deployed_workflow_retries_a_step_five_times() -> None:
    """Deployed Workflows: Paragon attempts to run your step **up to five times** with an exponential
    back-off.

    The table has five retries, so there are six attempts (DESIGN section 5: the two do not agree).
    """
    history, info = await failing_run(6)
    assert history.types().count("attempt.started") == 6
    assert info.status == "FAILED"


@row("P-8", "Retried steps appear as 'Running' in Task History.")
async def test_a_step_that_waits_for_its_retry_is_shown_as_running() -> None:
    """Retried steps appear as "Running" in Task History."""

    @step(retry=RetryPolicy.AUTO_RETRY)
    async def request() -> None: ...

    @workflow
    async def sync() -> None:
        await request()

    async with TestEngine(workflows=[sync]) as engine:
        engine.mock(request, raises=ConnectionError("down"))
        run = await engine.start(sync)
        for attempt, wait in enumerate(SCHEDULE):
            await engine.clock.advance(0)
            info = await run.info()
            assert (info.status, info.phase) == ("RUNNING", "retrying")
            assert info.next_retry_at is not None
            assert_around_one((info.next_retry_at - engine.clock.now()) / SECOND, wait)
            assert [(each.kind, each.attempt) for each in info.waiting_for] == [("retry", attempt)]
            await engine.clock.advance(info.next_retry_at - engine.clock.now())
        await engine.settle()
        assert await run.status() == "FAILED"


def assert_around_one(gap: float, wait: float) -> None:
    assert wait <= gap <= wait * 1.1


@row("P-9", "Test Workflow or Test Step: Paragon does not retry step executions.")
async def test_a_test_run_does_not_retry() -> None:
    """Test Workflow or Test Step: Paragon does not retry step executions."""
    service, body = Service(), Service()

    @step(retry=RetryPolicy.AUTO_RETRY)
    async def request() -> str:
        return await service.call()

    @workflow
    async def test_workflow() -> str:
        return await request()

    @workflow(retry=RetryPolicy.AUTO_RETRY)
    async def test_body() -> str:
        return await body.call()

    async with TestEngine(workflows=[test_workflow, test_body]) as engine:
        for each in (test_workflow, test_body):
            run = await engine.start(each.options(test=True))
            with pytest.raises(RunFailed):
                await run.result()
            info = await run.info()
            assert (info.test, info.status) == (True, "FAILED")
    assert (service.calls, body.calls) == (1, 1)
