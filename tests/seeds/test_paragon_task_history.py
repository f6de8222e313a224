"""The first seed's sentences about e-mails, and the pages that it links to: task history, replaying, tasks, triggers.

What the pages say is told in reference rows; sentences that are quoted are the seed's or its pages'.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from durably import (
    Engine,
    Event,
    NonRetriableError,
    NotBuilt,
    RetryPolicy,
    RunFailed,
    RunNotFound,
    StepError,
    step,
    workflow,
)
from durably.api.server import serve
from durably.engine.notifications.email import Email
from durably.engine.notifications.webhook import Webhook
from durably.testing import TestEngine
from tests.engine.notifications.conftest import ServeMail
from tests.engine.notifications.real_receivers import Mailbox, listening
from tests.seeds.checklist import row

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


@step(retry=RetryPolicy.AUTO_RETRY)
async def request(order: str) -> str:
    return f"answer to {order}"


@workflow(on="app/order.placed")
async def sync(event: Event) -> str:
    return await request(event.data["order"])


@workflow("sync_by_hand")
async def sync_by_hand(order: str) -> str:
    return await request(order)


@workflow("sync_by_hand", version=2)
async def sync_by_hand_newer(order: str) -> str:
    return f"newer {await request(order)}"


@pytest.fixture
async def engine() -> AsyncIterator[TestEngine]:
    async with TestEngine(workflows=[sync, sync_by_hand, sync_by_hand_newer]) as engine:
        yield engine


async def fail(engine: TestEngine, order: str = "o-1") -> str:
    run = await engine.start("sync_by_hand", order)
    with pytest.raises(RunFailed):
        await run.result()
    return run.id


# -- retries of deployed workflows


@row("P-12", "Deployed Workflows: Paragon attempts to run your step up to five times with an exponential back-off.")
async def test_a_deployed_workflow_goes_on_with_its_retries_after_a_crash(engine: TestEngine) -> None:
    mock = engine.mock(request, raises=[ConnectionError("down")] * 5, returns="answer")
    run = await engine.start("sync_by_hand", "o-1")
    for _ in range(5):  # in the middle of each wait
        await engine.clock.advance(0)
        info = await run.info()
        assert (info.status, info.phase) == ("RUNNING", "retrying")
        assert info.next_retry_at is not None
        due = info.next_retry_at
        await engine.clock.advance((due - engine.clock.now()) / 2)
        await engine.restart()
        await engine.clock.advance(0)
        assert (await run.info()).next_retry_at == due
        await engine.clock.advance(due - engine.clock.now())
    assert await run.result() == "newer answer"
    assert len(mock.calls) == 6


# -- error e-mails


@pytest.fixture
async def mailbox(serve_mail: ServeMail) -> Mailbox:
    return await serve_mail()


def to_ops(mailbox: Mailbox) -> Email:
    return Email("ops@example.com", sender="durably@example.com", smtp_url=mailbox.url)


@row("P-10", "no error emails for the workflow will be sent during the auto-retry window")
async def test_no_email_while_retries_remain(mailbox: Mailbox) -> None:
    async with TestEngine(workflows=[sync_by_hand], notify=[to_ops(mailbox)]) as engine:
        mock = engine.mock(request, raises=[ConnectionError("down")] * 5, returns="answer")
        run = await engine.start("sync_by_hand", "o-1")
        assert await run.result() == "answer"
        await engine.settle()
        assert len(mock.calls) == 6
        assert await engine.core.store.deliveries([run.id]) == []
    assert mailbox.mails == []


@row("P-11", "we will send you an email indicating the error, and workflow execution in your Task History")
async def test_one_email_after_the_last_attempt(mailbox: Mailbox) -> None:
    async with TestEngine(workflows=[sync_by_hand], notify=[to_ops(mailbox)]) as engine:
        engine.mock(request, raises=ConnectionError("the service is down"))
        run_id = await fail(engine)
        await engine.restart()
        await engine.settle()
        [recorded] = await engine.core.store.deliveries([run_id])
        assert recorded.status == "DELIVERED"
    [mail] = mailbox.mails
    assert mail["To"] == "ops@example.com"
    text = mail.as_string()
    assert "the service is down" in text
    assert run_id in text


@row("P-22", "Webhook Destination: POST, auto-disabled after too many consecutive non-2xx")
async def test_a_webhook_that_keeps_failing_is_switched_off() -> None:
    async with listening() as receiver:
        receiver.answers = [500]
        webhook = Webhook(receiver.url, name="ops")
        async with TestEngine(workflows=[sync_by_hand], notify=[webhook], http_allow=["127.0.0.0/8"]) as engine:
            engine.mock(request, raises=NonRetriableError("no"))
            patience = webhook.patience
            assert patience is not None
            for number in range(patience):
                assert engine.core.deliverer.courier.standing(webhook).off_at is None
                await fail(engine, f"o-{number}")
                await engine.clock.advance(2 * DAY)
            assert engine.core.deliverer.courier.standing(webhook).off_at is not None
            sent = len(receiver.received)
            assert sent >= patience
            await fail(engine, "o-last")
            await engine.clock.advance(2 * DAY)
            assert len(receiver.received) == sent


# -- "Viewing Task History"


@row("P-14", "For each step: its status, input and output")
async def test_each_attempt_shows_its_input_and_its_output_or_error(engine: TestEngine) -> None:
    engine.mock(request, raises=[ConnectionError("down"), TimeoutError("slow")], returns="answer")
    run = await engine.start("sync_by_hand", "o-1")
    await run.result()
    history = [each for each in await run.history() if each.type.startswith(("attempt.", "step."))]
    started = [each for each in history if each.type == "attempt.started"]
    assert (started[0].input, [each.attempt for each in started]) == ({"order": "o-1"}, [0, 1, 2])
    failed = [(each.attempt, each.error["message"]) for each in history if each.type == "attempt.failed"]
    assert failed == [(0, "down"), (1, "slow")]
    assert all(each.retry_at is not None for each in history if each.type == "attempt.failed")
    assert [each.output for each in history if each.type == "step.succeeded"] == ["answer"]
    assert [each.at for each in history] == sorted(each.at for each in history)


@row("P-15", "Filter by status, workflow, user, integration, date range; executions are kept for 90 days")
async def test_the_history_can_be_filtered_and_is_kept_for_a_while() -> None:
    async with TestEngine(workflows=[sync, sync_by_hand], retention=90 * DAY, auto=False) as engine:
        engine.mock(request, raises=[NonRetriableError("no")], returns="answer")
        failed = await engine.start("sync_by_hand", "o-1")
        await engine.settle()
        await engine.clock.advance(DAY)
        await engine.send(Event("app/order.placed", {"order": "o-2"}))
        await engine.settle()
        yesterday = engine.clock.now() - DAY / 2

        async def found(**filters: Any) -> list[str]:
            return [each.workflow for each in await engine.list_runs(**filters)]

        assert await found() == ["sync", "sync_by_hand"]
        assert await found(status="FAILED") == ["sync_by_hand"]
        assert await found(workflow="sync") == ["sync"]
        assert await found(trigger="EVENT") == await found(event="app/order.placed") == ["sync"]
        assert await found(created_from=yesterday) == ["sync"]
        assert await found(created_until=yesterday) == ["sync_by_hand"]
        await engine.clock.advance(89.5 * DAY)  # that of the first day is older than 90 days now
        await engine.settle()
        assert await found() == ["sync"]
        with pytest.raises(RunNotFound):
            await engine.get_run(failed.id)


@row("P-16", "workflow execution in your Task History (#editing-and-replaying)")
async def test_a_failed_execution_is_replayed_as_a_new_one(engine: TestEngine) -> None:
    engine.mock(request, raises=[NonRetriableError("no")], returns="answer")
    original = await engine.get_run(await fail(engine))
    before = (await original.history()).to_json()
    current, same, edited = (
        await original.rerun(),
        await original.rerun(version=2),
        await original.rerun(input={"order": "o-9"}),
    )
    for replayed in (current, same, edited):
        await replayed.result()
    info = await current.info()
    assert (info.id != original.id, info.origin, info.trigger) == (True, original.id, "RERUN")
    assert info.input == (await original.info()).input
    assert (await edited.info()).input == {"order": "o-9"}
    assert (await original.history()).to_json() == before


async def test_a_replay_can_use_the_version_that_the_execution_had() -> None:
    """The page says "your currently deployed workflow", the API "the same version": both can be had."""
    async with TestEngine(workflows=[sync_by_hand]) as engine:
        engine.mock(request, raises=[NonRetriableError("no")], returns="answer")
        original = await engine.get_run(await fail(engine))
        engine.workflows = (sync_by_hand, sync_by_hand_newer)
        await engine.restart()
        versions = [await (await original.rerun(version=version)).result() for version in ("original", "current")]
        assert versions == ["answer", "newer answer"]


# -- "Tasks"


@row("P-17", "Triggers, Conditional, Fan Out, Response and Delay do not count; fan-out bodies count per iteration")
async def test_what_counts_as_a_task() -> None:
    @step
    async def body(number: int) -> int:
        return number

    @workflow(on="app/list")
    async def fan_out(event: Event) -> int:
        if event.data["numbers"]:
            await asyncio.sleep(60)
        return sum(await asyncio.gather(*map(body, event.data["numbers"])))

    async with TestEngine(workflows=[fan_out]) as engine:
        for numbers, tasks in (([], 0), ([1, 2, 3], 3)):
            await engine.send(Event("app/list", {"numbers": numbers}))
            await engine.settle()
            [run, *_] = await engine.list_runs()
            assert (run.output, run.tasks) == (sum(numbers), tasks)
        day = int(engine.clock.now().timestamp()) // 86_400
        [used] = await engine.core.store.usage(day, day + 1)
        assert (used.workflow, used.environment, used.runs, used.tasks) == ("fan_out", "production", 2, 3)


# -- steps and triggers


@row("P-18", "continueWorkflowOnError: emitting the error as output")
async def test_a_step_that_fails_can_be_gone_on_from() -> None:
    calls: list[int] = []

    @step(retry=RetryPolicy.AUTO_RETRY)
    async def broken() -> str:
        calls.append(1)
        raise ConnectionError("down")

    @workflow
    async def goes_on() -> str:
        try:
            return await broken()
        except StepError as error:
            return f"{error.step} failed: {error.message}"

    async with TestEngine(workflows=[goes_on]) as engine:
        assert await (await engine.start(goes_on)).result() == "broken failed: down"
    assert len(calls) == 6, "the error is its output after the retries are used up"


@row("P-19", "One App Event may trigger many workflows; the answer is the same if nothing is triggered")
async def test_an_event_is_accepted_whatever_it_triggers() -> None:
    @workflow(on="app/order.placed")
    async def second(event: Event) -> None: ...

    async with (
        Engine("memory://", workflows=[sync, second]) as engine,
        await serve(engine, port=0) as server,
        aiohttp.ClientSession() as session,
    ):
        for name, started in (("app/nobody.listens", 0), ("app/order.placed", 2)):
            body = {"name": name, "data": {"order": "o-1"}}
            async with session.post(f"{server.url}/e/any", json=body) as answer:
                assert answer.status == 200
                assert len((await answer.json())["ids"]) == 1
            assert len(await engine.list_runs()) == started


@row("P-20", "a delay shows Waiting; does not hold a worker")
async def test_a_delay_holds_no_worker() -> None:
    @workflow
    async def delays() -> str:
        await asyncio.sleep(DAY.total_seconds())
        return await request("o-1")

    async with TestEngine(workflows=[delays], max_steps=1, auto=False) as engine:
        sleeping = [await engine.start(delays) for _ in range(50)]
        await engine.settle()
        assert {(await run.info()).phase for run in sleeping} == {"sleeping"}
        assert len(list(engine.core.runs)) == 0, "nothing of them is in memory"
        await engine.clock.advance(DAY)
        await engine.settle()
        assert {await run.status() for run in sleeping} == {"SUCCEEDED"}


@row("P-21", "over the concurrency limit: queued, stored, run later")
def test_concurrency_comes_with_flow_control() -> None:
    with pytest.raises(NotBuilt, match="concurrency"):
        workflow(concurrency=1)
