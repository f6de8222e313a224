"""What a run sends to others: with its own group, once, over retries and crashes (DESIGN rule 9)."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from msgspec import Raw

from durably import (
    ErrorInfo,
    Event,
    RetryPolicy,
    RunFailed,
    current,
    publish,
    send_event,
    start_child,
    step,
    wait_for_event,
    wait_for_signal,
    workflow,
)
from durably.engine.execution.outbox import child_outcome, wait_row
from durably.engine.log.records import (
    NOTHING,
    ChildCanceled,
    ChildFailed,
    ChildSucceeded,
    EventAwaited,
    RunCanceled,
    RunSucceeded,
    from_us,
)
from durably.engine.log.records import (
    RunFailed as RunFailedRecord,
)
from durably.store import MemoryStore, Operation
from durably.testing import TestEngine

pytestmark = pytest.mark.anyio

Running = Callable[..., AbstractAsyncContextManager[TestEngine]]
QUICK = RetryPolicy(3, backoff="fixed", delay=10, jitter=0)


@step
async def work(number: int) -> int:
    return number


@workflow(on="made")
async def receives(event: Event) -> Any:
    return event.data


@workflow
async def listens(name: str) -> Any:
    event = await wait_for_event(name, timeout=60)
    return event and event.data


@workflow(retry=QUICK)
async def sends() -> list[Any]:
    ids = await send_event(Event("made", {"n": 1}), Event("told", {"n": 2}))
    own = await send_event(Event("told", {"n": 3}, id="mine"))
    await work(1)
    if current().attempt < 1:
        raise ConnectionError
    return [*ids, *own, *(await send_event())]


async def events(engine: TestEngine, name: str) -> list[str]:
    return [row.id for _, row in await engine.core.store.events_since(name, (0, 0), 100)]


@pytest.mark.parametrize("restart", [False, True])
async def test_events_are_sent_once_with_stable_ids(running: Running, restart: bool) -> None:
    async with running(sends, receives, listens) as engine:
        listening = await engine.start(listens, "told")
        run = await engine.start(sends)
        if restart:
            await engine.quiesce()
            await engine.restart()
        first, second, third = await run.result()
        assert await events(engine, "made") == [first]
        assert await events(engine, "told") == [second, "mine"]
        assert third == "mine"
        assert await listening.result() == {"n": 2}
        [info] = await engine.list_runs(workflow="receives")
        assert (info.status, info.output, info.event_id) == ("SUCCEEDED", {"n": 1}, first)
        assert (await run.history()).types().count("event.sent") == 2


async def test_an_event_may_start_a_run_and_wake_another(running: Running) -> None:
    @workflow
    async def sends_one() -> None:
        await send_event(Event("made", {"n": 1}))

    async with running(sends_one, receives, listens) as engine:
        listening = await engine.start(listens, "made")
        await (await engine.start(sends_one)).result()
        await engine.quiesce()
        assert [info.status for info in await engine.list_runs(workflow="receives")] == ["SUCCEEDED"]
        assert await listening.result() == {"n": 1}


async def test_an_event_that_a_workflow_and_a_client_send_alike_is_one(running: Running) -> None:
    @workflow
    async def sends_one() -> None:
        await send_event(Event("made", {"n": 1}, id="known"))

    async with running(sends_one, receives) as engine:
        await (await engine.start(sends_one)).result()
        assert await engine.send(Event("made", {"n": 1}, id="known")) == ["known"]
        assert await events(engine, "made") == ["known"]


@pytest.mark.parametrize("content", [1, 9], ids=["same", "another"])
async def test_an_event_whose_id_is_known_does_not_keep_the_others_back(running: Running, content: int) -> None:
    @workflow
    async def sends_both() -> None:
        await send_event(Event("made", {"n": content}, id="known"), Event("made", {"n": 2}, id="new"))

    async with running(sends_both, receives) as engine:
        await engine.send(Event("made", {"n": 1}, id="known"))
        await (await engine.start(sends_both)).result()
        await engine.settle()
        assert sorted(info.output["n"] for info in await engine.list_runs(workflow="receives")) == [1, 2]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (lambda: [Event("made", {"x": "y" * 600_000})], "more than 524,288"),
        (lambda: [Event("made")] * 5_001, "5,001 events at once are more than 5,000"),
    ],
)
async def test_what_is_over_a_limit_is_said_at_the_call(running: Running, given: Any, complaint: str) -> None:
    @workflow(retries=0)
    async def sends_much() -> None:
        await send_event(*given())

    async with running(sends_much, receives) as engine:
        with pytest.raises(RunFailed, match=complaint):
            await (await engine.start(sends_much)).result()
        assert await events(engine, "made") == []


async def test_what_is_said_in_one_breath_is_done_in_its_order(running: Running) -> None:
    """A child is there when it is told something, or canceled, in the same activation."""

    @workflow
    async def told() -> Any:
        signal = await wait_for_signal("go", timeout=60)
        return signal and signal.data

    @workflow
    async def parent() -> list[Any]:
        one, two = await start_child(told), await start_child(told)
        await one.signal("go", 1)
        canceled = await two.cancel()
        return [await one.result(), canceled]

    async with running(parent, told) as engine:
        assert await (await engine.start(parent)).result() == [1, True]
        assert sorted(info.status for info in await engine.list_runs(workflow="told")) == ["CANCELED", "SUCCEEDED"]


async def test_what_is_published_is_in_the_log_once(running: Running) -> None:
    @workflow(retry=QUICK)
    async def tells() -> None:
        await publish({"n": 1})
        await work(1)
        await publish({"n": 2}, topic="other")
        if current().attempt < 1:
            raise ConnectionError
        await publish({"n": 3})

    async with running(tells) as engine:
        run = await engine.start(tells)
        await engine.quiesce()
        await engine.restart()
        await run.result()
        assert [(each.topic, each.data["n"]) async for each in run.stream()] == [
            ("progress", 1),
            ("other", 2),
            ("progress", 3),
        ]


class RefusingStore(MemoryStore):
    """Takes everything but groups of one run that send something."""

    def submit(self, batch: Any, done: Any) -> None:
        self.batches: list[list[Operation]] = [*getattr(self, "batches", []), list(batch)]
        super().submit(batch, done)


async def test_all_of_it_goes_with_the_record_that_says_so() -> None:
    """One commit: the record, the event, the runs it starts, the child."""
    store = RefusingStore()

    @workflow
    async def says() -> None:
        await send_event(Event("made"))
        await start_child(listens, "x")
        await asyncio.sleep(1)

    engine = TestEngine(workflows=[says, receives, listens], auto=False)
    engine.use_store(store)
    async with engine:
        await engine.start(says)
        [first] = store.batches[0]
        types = [type(each).__name__ for each in getattr(first, "also", ())]
        assert sorted(types) == ["Create", "Ingest"]
        assert len(await engine.list_runs()) == 3


# -- pure parts


def test_a_wait_is_registered_as_events_are_looked_up() -> None:
    wait = EventAwaited(wait="0/event#0", event="made", match=Raw(b'{"data.n":1}'), since=from_us(5))
    row = wait_row(wait, "staging")
    assert (row.key, row.event, row.paths, row.since_us) == ("0/event#0", "made", ("data.n",), 5)
    assert row.environment == "staging"
    assert row.topic != wait_row(EventAwaited(wait="0/event#0", event="made"), "staging").topic


ERROR = ErrorInfo("ValueError", ("ValueError",), "no")
ENDS: list[tuple[Any, Any]] = [
    (RunSucceeded(output=NOTHING), ChildSucceeded(child="k", output=NOTHING)),
    (RunFailedRecord(error=ERROR), ChildFailed(child="k", error=ERROR)),
    (RunCanceled(), ChildCanceled(child="k")),
]


@pytest.mark.parametrize(("end", "outcome"), ENDS)
def test_a_parent_is_told_of_each_end(end: Any, outcome: Any) -> None:
    assert child_outcome("k", end) == outcome
