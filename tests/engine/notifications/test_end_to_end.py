"""Who is told of which run.

The first seed: "no error emails for the workflow will be sent during the auto-retry window. If Paragon fails to retry
the step after the last attempt, we will send you an email indicating the error, and workflow execution".
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from anyio.lowlevel import checkpoint
from msgspec import json

from durably import ChildError, NonRetriableError, RetryPolicy, RunCanceled, RunFailed, step, workflow
from durably.engine.notifications.destination import Destination
from durably.engine.notifications.email import Email
from durably.engine.notifications.webhook import Webhook
from durably.store import MemoryStore, Operation, Store, UnknownOutcome, open_url
from durably.store.protocol import Done
from durably.testing import TestEngine
from tests.engine.notifications.real_receivers import Mailbox, Receiver

pytestmark = pytest.mark.anyio


class Flaky:
    """How often `charge` is still to fail, and how often it was tried."""

    left = 0
    tried = 0


@step(retry=RetryPolicy.AUTO_RETRY)
async def charge(order_id: str) -> str:
    Flaky.tried += 1
    if Flaky.left > 0:
        Flaky.left -= 1
        raise RuntimeError("insufficient funds")
    return order_id


@workflow
async def fulfil(order_id: str) -> str:
    return await charge(order_id)


@workflow
async def parent(order_id: str) -> str:
    return await fulfil(order_id)


@workflow
async def patient_parent(order_id: str) -> str:
    try:
        return await fulfil(order_id)
    except ChildError:
        return "without it"


@workflow
async def at_once() -> None:
    raise NonRetriableError("no")


@workflow
async def sleeper() -> None:
    await asyncio.sleep(3600)


@pytest.fixture(autouse=True)
def forget() -> None:
    Flaky.left, Flaky.tried = 1000, 0


@asynccontextmanager
async def telling(
    *destinations: Destination, store: Store | None = None, auto: bool = True
) -> AsyncGenerator[TestEngine]:
    """An engine that tells these of failures."""
    engine = TestEngine([fulfil, parent, patient_parent, at_once, sleeper], auto=auto)
    engine.settings = engine.settings._replace(notify=destinations, http_allow=("127.0.0.0/8",))
    if store is not None:
        engine.use_store(store)
    async with engine:
        yield engine


async def test_nobody_is_told_while_retries_remain_and_then_once(mailbox: Mailbox, receiver: Receiver) -> None:
    email = Email("ops@example.com", sender="durably@example.com", smtp_url=mailbox.url)
    async with telling(email, Webhook(receiver.url)) as engine:
        run = await engine.start(fulfil, "o-1")
        for attempts, wait in enumerate((10, 20, 30, 50), start=1):
            await engine.clock.advance(wait * 1.1)
            assert Flaky.tried >= attempts
        assert Flaky.tried == 5
        assert (mailbox.mails, receiver.received) == ([], [])
        assert await engine.core.store.deliveries([run.id]) == []
        with pytest.raises(RunFailed):
            await run.result()
        await engine.settle()
    assert Flaky.tried == 6
    [mail], [request] = mailbox.mails, receiver.received
    told = json.decode(request.body)["data"]
    assert told["run_id"] == run.id
    assert told["workflow"] == "fulfil"
    assert told["input"] == {"order_id": "o-1"}
    assert "failed after 6 attempts: RuntimeError: insufficient funds" in told["error"]["message"]
    assert run.id in mail.as_string()
    assert "insufficient funds" in mail.as_string()


@pytest.mark.parametrize("failures", [0, 1, 5])
async def test_nobody_is_told_of_what_succeeds_in_the_end(receiver: Receiver, failures: int) -> None:
    Flaky.left = failures
    async with telling(Webhook(receiver.url)) as engine:
        assert await (await engine.start(fulfil, "o-1")).result() == "o-1"
        await engine.settle()
    assert receiver.received == []


async def test_of_a_canceled_run_nobody_is_told(receiver: Receiver) -> None:
    async with telling(Webhook(receiver.url)) as engine:
        run = await engine.start(sleeper)
        await run.cancel()
        with pytest.raises(RunCanceled):
            await run.result()
        await engine.settle()
    assert receiver.received == []


async def test_of_a_test_nobody_is_told(receiver: Receiver) -> None:
    async with telling(Webhook(receiver.url)) as engine:
        run = await engine.start(fulfil.options(test=True), "o-1")
        with pytest.raises(RunFailed):
            await run.result()
        await engine.settle()
    assert receiver.received == []


@pytest.mark.parametrize(("outer", "told"), [(parent, ["parent"]), (patient_parent, [])])
async def test_of_a_child_its_parent_is_told_and_nobody_else(receiver: Receiver, outer: Any, told: list[str]) -> None:
    async with telling(Webhook(receiver.url)) as engine:
        run = await engine.start(outer, "o-1")
        with suppress(RunFailed):
            await run.result()
        await engine.settle()
    assert [json.decode(each.body)["data"]["workflow"] for each in receiver.received] == told


async def test_of_a_rerun_that_fails_somebody_is_told_again(receiver: Receiver) -> None:
    async with telling(Webhook(receiver.url)) as engine:
        run = await engine.start(at_once)
        with pytest.raises(RunFailed):
            await run.result()
        again = await run.rerun()
        with pytest.raises(RunFailed):
            await again.result()
        await engine.settle()
    assert [json.decode(each.body)["data"]["run_id"] for each in receiver.received] == [run.id, again.id]
    assert len(set(receiver.ids)) == 2


async def test_a_receiver_that_is_down_holds_up_no_run(receiver: Receiver, unused_port: int) -> None:
    down = Webhook(f"http://127.0.0.1:{unused_port}/", name="down")
    async with telling(down, Webhook(receiver.url)) as engine:
        for _ in range(20):
            run = await engine.start(at_once)
            with pytest.raises(RunFailed):
                await run.result()
        Flaky.left = 0
        assert await (await engine.start(fulfil, "o-1")).result() == "o-1"
        await engine.settle()
        assert engine.core.deliverer.courier.standing(down).off_at is not None
    assert len(receiver.received) == 20


async def test_an_engine_that_stops_right_after_a_failure_tells_of_it(receiver: Receiver) -> None:
    async with telling(Webhook(receiver.url)) as engine:
        run = await engine.start(at_once)
        with pytest.raises(RunFailed):
            await run.result()
    assert len(receiver.received) == 1


async def test_a_receiver_that_hangs_does_not_keep_an_engine_from_stopping(receiver: Receiver) -> None:
    never = asyncio.Event()

    async def hang() -> web.Response:
        await never.wait()
        return web.Response()

    receiver.answers = [hang]
    async with telling(Webhook(receiver.url)) as engine:
        engine.core.settings = engine.core.settings._replace(drain_timeout=0)
        run = await engine.start(at_once)
        with pytest.raises(RunFailed):
            await run.result()
        while not receiver.received:
            await checkpoint()
        store = engine.core.store
    [row] = await store.deliveries([run.id])
    assert (row.status, row.attempts) == ("PENDING", 0)
    never.set()


# -- crashes


class DeadlyStore(MemoryStore):
    """The process dies at commit number `dies_at`, before or after it happened: nobody hears of it any more."""

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


async def fail(engine: TestEngine) -> None:
    run = await engine.start(fulfil, "o-1", run_id="run-1")
    with pytest.raises(RunFailed):
        await run.result()
    await engine.settle()
    [row] = await engine.core.store.deliveries(["run-1"])
    assert row.status == "DELIVERED"


async def count_commits(receiver: Receiver) -> int:
    """Of a run that fails, up to the record that its message was delivered."""
    store = DeadlyStore(0, happened=True)
    async with telling(Webhook(receiver.url), store=store) as engine:
        await fail(engine)
    receiver.received.clear()
    return store.commits


@pytest.mark.parametrize("happened", [False, True])
async def test_killed_at_every_commit_one_is_recorded_and_told_under_one_id(receiver: Receiver, happened: bool) -> None:
    commits = await count_commits(receiver)
    for dies_at in range(1, commits + 1):
        store = DeadlyStore(dies_at, happened=happened)
        async with telling(Webhook(receiver.url), store=store) as engine:
            starting = asyncio.ensure_future(engine.start(fulfil, "o-1", run_id="run-1"))
            await engine.wait(store.died)
            starting.cancel()
            await engine.restart()
            await fail(engine)
        requests = 2 if dies_at == commits and not happened else 1  # sent, and died before that was recorded
        assert len(receiver.ids) == requests, dies_at
        assert len(set(receiver.ids)) == 1
        receiver.received.clear()


class UnsureStore(MemoryStore):
    """Of its first commit nobody knows at first whether it happened. It did."""

    sure = False

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        if self.sure:
            super().submit(batch, done)
            return
        self.sure = True
        super().submit(batch, lambda _: None)
        asyncio.get_running_loop().call_soon(done, UnknownOutcome("the disk said EIO"))


async def test_a_failure_of_which_nobody_knew_whether_it_was_recorded_is_told(receiver: Receiver) -> None:
    async with telling(Webhook(receiver.url), store=UnsureStore()) as engine:
        run = await engine.start(at_once)
        with pytest.raises(RunFailed):
            await run.result()
        await engine.settle()
        [row] = await engine.core.store.deliveries([run.id])
    assert row.status == "DELIVERED"
    assert receiver.ids == [row.message]


async def test_on_a_file(receiver: Receiver, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    receiver.answers = [500, 200]
    async with telling(Webhook(receiver.url), store=open_url(url), auto=False) as engine:
        run = await engine.start(at_once)
        with pytest.raises(RunFailed):
            await run.result()
        await engine.quiesce()
    assert len(receiver.ids) == 1
    async with telling(Webhook(receiver.url), store=open_url(url), auto=False) as engine:
        await engine.clock.advance(10)
        [row] = await engine.core.store.deliveries([run.id])
        assert (row.status, row.attempts) == ("DELIVERED", 2)
    assert receiver.ids == [row.message] * 2
