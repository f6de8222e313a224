"""When attempts are made: over failures, crashes and outages, with a real receiver, on a virtual clock."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate

import pytest
from aiohttp import web
from anyio.lowlevel import checkpoint

from durably.engine.notifications import deliverer
from durably.engine.notifications.webhook import Webhook
from durably.store import DeliveryRow, MemoryStore, Operation, StoreFailure, StoreUnavailable, UnknownOutcome
from durably.store.protocol import Done
from durably.store.runtime import SECOND_US
from tests.engine.notifications.bare_post import Post
from tests.engine.notifications.real_receivers import Receiver

pytestmark = pytest.mark.anyio

OpenPost = Callable[..., Awaitable[Post]]
DOUBLING = [5 * 2**n for n in range(10)]  # 5 s … 2560 s
WAITS = DOUBLING + [3600] * 22


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until it is so. The suite's own limit ends a wait in vain."""
    while not condition():
        await checkpoint()


async def test_a_message_is_sent_once_and_recorded_as_delivered(open_post: OpenPost, receiver: Receiver) -> None:
    post = await open_post(Webhook(receiver.url))
    await post.tell()
    await post.advance(48 * 3600)
    row = await post.row()
    assert (row.status, row.attempts, row.due_us, row.error) == ("DELIVERED", 1, None, None)
    assert receiver.ids == [row.message]
    assert receiver.received[0].body == row.body


async def test_a_receiver_that_is_down_is_tried_with_growing_waits_for_a_day(
    open_post: OpenPost, receiver: Receiver
) -> None:
    post = await open_post(Webhook(receiver.url))
    times: list[int] = []

    async def refuse() -> web.Response:
        times.append(post.clock.now_us())
        return web.Response(status=503)

    receiver.answers = [refuse]
    await post.tell()
    began_us = post.clock.now_us()
    await post.advance(48 * 3600)
    assert [(at_us - began_us) // SECOND_US for at_us in times] == [0, *accumulate(WAITS)]
    assert len(set(receiver.ids)) == 1
    assert len({each.body for each in receiver.received}) == 1
    row = await post.row()
    assert (row.status, row.attempts, row.due_us) == ("FAILED", 33, None)
    assert row.error is not None
    assert "answered 503" in row.error


async def test_between_attempts_the_store_says_how_many_there_were_and_when_the_next_is(
    open_post: OpenPost, receiver: Receiver
) -> None:
    receiver.answers = [500, 404, 200]
    post = await open_post(Webhook(receiver.url))
    await post.tell()
    row = await post.row()
    assert (row.status, row.attempts, row.due_us) == ("PENDING", 1, post.clock.now_us() + 5 * SECOND_US)
    await post.advance(5)
    assert (await post.row()).attempts == 2
    await post.advance(9)
    assert len(receiver.ids) == 2
    await post.advance(1)
    row = await post.row()
    assert (row.status, row.attempts, row.error) == ("DELIVERED", 3, None)


async def test_a_receiver_says_when_to_come_back(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [web.Response(status=429, headers={"Retry-After": "120"}), 200]
    post = await open_post(Webhook(receiver.url))
    await post.tell()
    await post.advance(119)
    assert len(receiver.ids) == 1
    await post.advance(1)
    assert len(receiver.ids) == 2


@pytest.mark.parametrize("status", [201, 204, 299])
async def test_every_2xx_is_a_success(open_post: OpenPost, receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    post = await open_post(Webhook(receiver.url))
    await post.tell()
    assert (await post.row()).status == "DELIVERED"


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 429, 500, 503])
async def test_any_other_status_is_tried_again(open_post: OpenPost, receiver: Receiver, status: int) -> None:
    receiver.answers = [status, 200]
    post = await open_post(Webhook(receiver.url))
    await post.tell()
    assert (await post.row()).status == "PENDING"
    await post.advance(5)
    assert (await post.row()).status == "DELIVERED"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(open_post: OpenPost, receiver: Receiver, status: int) -> None:
    receiver.answers = [web.Response(status=status, headers={"Location": "/elsewhere"}), 200]
    post = await open_post(Webhook(receiver.url))
    await post.tell()
    assert [each.path for each in receiver.received] == ["/hooks/s3cr3t"]
    assert (await post.row()).status == "PENDING"


async def test_nobody_listening_is_tried_again(open_post: OpenPost, unused_port: int) -> None:
    post = await open_post(Webhook(f"http://127.0.0.1:{unused_port}/x9?token=1"))
    await post.tell()
    row = await post.row()
    assert (row.status, row.error) == (
        "PENDING",
        f"POST http://127.0.0.1:{unused_port}/…: the connection was refused",
    )


# -- crashes


class HeldStore(MemoryStore):
    """Loses what is written while `held`, as a crash in the middle of it does."""

    held = False

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        if not self.held:
            super().submit(batch, done)


async def test_sent_and_not_recorded_when_the_process_died_is_sent_again_with_the_same_id(
    open_post: OpenPost, receiver: Receiver
) -> None:
    store, webhook = HeldStore(), Webhook(receiver.url)
    post = await open_post(webhook, store=store)
    rows = await post.record("run-1")
    store.held = True
    post.deliverer.add(rows)
    await until(lambda: len(receiver.ids) == 1 and not post.journal.committer.idle)
    await post.die()
    store.held = False
    post = await open_post(webhook, store=store)
    row = await post.row()
    assert receiver.ids == [row.message, row.message]
    assert (row.status, row.attempts) == ("DELIVERED", 1)


async def test_recorded_and_not_sent_when_the_process_died_is_sent_by_the_next_one(
    open_post: OpenPost, receiver: Receiver
) -> None:
    store, webhook = MemoryStore(), Webhook(receiver.url)
    post = await open_post(webhook, store=store)
    await post.record("run-1", "run-2")
    await post.die()
    assert receiver.ids == []
    post = await open_post(webhook, store=store)
    assert sorted(receiver.ids) == sorted([(await post.row("run-1")).message, (await post.row("run-2")).message])


async def test_the_wait_goes_on_over_a_restart(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [500, 500, 200]
    store, webhook = MemoryStore(), Webhook(receiver.url)
    post = await open_post(webhook, store=store)
    await post.tell()
    await post.advance(5)
    await post.advance(4)
    await post.die()
    post = await open_post(webhook, store=store, clock=post.clock)
    await post.advance(5)
    assert len(receiver.ids) == 2
    await post.advance(1)
    assert len(receiver.ids) == 3
    assert (await post.row()).attempts == 3


# -- the store fails


class FailingStore(MemoryStore):
    """Reports the commits after `break_down` as unknown, after carrying them out or instead, until it is reopened."""

    happened = False
    broken = False
    outage = 0

    def break_down(self, *, happened: bool, outage: int = 0) -> None:
        self.broken, self.happened, self.outage = True, happened, outage

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        if not self.broken:
            super().submit(batch, done)
            return
        if self.happened:
            super().submit(batch, lambda _: None)
            self.happened = False
        failure: StoreFailure = UnknownOutcome("the disk said EIO")
        asyncio.get_running_loop().call_soon(done, failure)

    async def reopen(self) -> None:
        self.outage -= 1
        if self.outage >= 0:
            raise StoreUnavailable("the disk is still broken")
        self.broken = False
        await super().reopen()


@pytest.mark.parametrize(("happened", "requests"), [(True, 1), (False, 2)])
async def test_an_attempt_of_which_nobody_knows_whether_it_was_recorded(
    open_post: OpenPost, receiver: Receiver, happened: bool, requests: int
) -> None:
    store = FailingStore()
    post = await open_post(Webhook(receiver.url), store=store)
    rows = await post.record("run-1")
    store.break_down(happened=happened)
    post.deliverer.add(rows)
    await post.advance(3600)
    row = await post.row()
    assert (row.status, row.attempts) == ("DELIVERED", 1)
    assert receiver.ids == [row.message] * requests


async def test_a_wait_that_was_recorded_although_nobody_knew_is_kept(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [500]
    store = FailingStore()
    post = await open_post(Webhook(receiver.url), store=store)
    await post.tell()
    store.break_down(happened=True)
    await post.advance(14)
    assert (len(receiver.ids), (await post.row()).attempts) == (2, 2)
    await post.advance(1)
    assert len(receiver.ids) == 3


async def test_while_nothing_can_be_recorded_nothing_is_sent(open_post: OpenPost, receiver: Receiver) -> None:
    store = FailingStore()
    post = await open_post(Webhook(receiver.url), store=store)
    rows = await post.record("run-1", "run-2")
    store.break_down(happened=False, outage=100)
    post.deliverer.add(rows[:1])
    await post.advance(1)
    post.deliverer.add(rows[1:])
    await post.advance(90)
    assert receiver.ids == [rows[0].message]
    await post.advance(20)
    assert [(await post.row(run_id)).status for run_id in ("run-1", "run-2")] == ["DELIVERED", "DELIVERED"]


# -- one does not hold up the other


async def test_a_receiver_that_hangs_gets_few_at_once_and_keeps_no_other_waiting(
    open_post: OpenPost, receiver: Receiver
) -> None:
    let_go = asyncio.Event()

    async def hang() -> web.Response:
        if receiver.received[-1].path == "/slow":
            await let_go.wait()
        return web.Response()

    receiver.answers = [hang]
    slow = Webhook(receiver.url.replace("/hooks/s3cr3t", "/slow"), name="slow")
    post = await open_post(slow, Webhook(receiver.url, name="quick"))
    runs = [f"run-{number}" for number in range(20)]
    post.deliverer.add(await post.record(*runs))
    await until(lambda: [each.path for each in receiver.received].count("/hooks/s3cr3t") == 20)
    assert [each.path for each in receiver.received].count("/slow") == 4
    assert post.deliverer.pending("slow") == 20
    let_go.set()
    await post.rest()
    assert len(receiver.received) == 40
    assert post.deliverer.pending("slow") == 0


async def test_what_does_not_fit_into_memory_waits_in_the_store(
    open_post: OpenPost, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliverer, "KEPT", 4)
    store, webhook = MemoryStore(), Webhook(receiver.url)
    post = await open_post(webhook, store=store)
    rows = await post.record(*(f"run-{number}" for number in range(21)))
    post.deliverer.add(rows)
    assert post.deliverer.pending(webhook.id) == 4
    await post.rest()
    assert sorted(receiver.ids) == sorted(row.message for row in rows)
    await post.record(*(f"new-{number}" for number in range(21)))
    await post.die()
    await open_post(webhook, store=store)
    assert len(receiver.ids) == len(set(receiver.ids)) == 42


async def test_what_is_told_twice_is_sent_once(open_post: OpenPost, receiver: Receiver) -> None:
    post = await open_post(Webhook(receiver.url))
    rows = await post.record("run-1")
    post.deliverer.add(rows)
    post.deliverer.add(rows)
    post.deliverer.look()
    await post.rest()
    post.deliverer.add(rows)
    await post.rest()
    assert len(receiver.ids) == 1


async def test_a_run_that_was_forgotten_is_told_to_nobody(open_post: OpenPost, receiver: Receiver) -> None:
    class Forgetful(MemoryStore):
        async def deliveries(self, run_ids: Sequence[str]) -> list[DeliveryRow]:
            del run_ids
            return []

    post = await open_post(Webhook(receiver.url), store=Forgetful())
    await post.tell()
    await post.advance(24 * 3600)
    assert receiver.ids == []


# -- the end


async def test_closing_gives_what_is_due_its_attempt(open_post: OpenPost, receiver: Receiver) -> None:
    webhook = Webhook(receiver.url)
    post = await open_post(webhook)
    post.deliverer.add(await post.record(*(f"run-{number}" for number in range(20))))
    await post.deliverer.close(30)
    assert len(receiver.ids) == 20
    assert post.deliverer.pending(webhook.id) == 0


async def test_closing_does_not_wait_for_what_is_due_later(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [500]
    post = await open_post(Webhook(receiver.url))
    await post.tell()
    await post.deliverer.close(30)
    assert post.clock.next_us() is None
    await post.advance(48 * 3600)
    assert len(receiver.ids) == 1
    assert (await post.row()).status == "PENDING"


async def test_closing_breaks_off_what_takes_too_long(open_post: OpenPost, receiver: Receiver) -> None:
    let_go = asyncio.Event()

    async def hang() -> web.Response:
        await let_go.wait()
        return web.Response()

    receiver.answers = [hang]
    post = await open_post(Webhook(receiver.url))
    post.deliverer.add(await post.record("run-1"))
    await until(lambda: len(receiver.ids) == 1)
    await post.deliverer.close(0)
    await post.rest()
    let_go.set()
    row = await post.row()
    assert (row.status, row.attempts) == ("PENDING", 0)
