"""How destinations stand: switched off after too many messages, and on again (the linked page on event destinations:
"auto-disabled after too many consecutive non-2xx")."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

import pytest
import structlog
from aiohttp import web
from anyio.lowlevel import checkpoint

from durably.engine.http.client import HttpClient
from durably.engine.notifications.deliveries import deliveries
from durably.engine.notifications.email import Email
from durably.engine.notifications.message import Envelope
from durably.engine.notifications.webhook import Webhook
from durably.store import MemoryStore
from tests.engine.notifications.bare_post import Post, failure_of
from tests.engine.notifications.real_receivers import Mailbox, Receiver

pytestmark = pytest.mark.anyio

OpenPost = Callable[..., Awaitable[Post]]
DAY = 24 * 3600


async def run_out(post: Post, *run_ids: str) -> None:
    """Messages that get no attempt any more."""
    await post.tell(*run_ids)
    await post.advance(DAY)


async def test_a_webhook_is_switched_off_after_five_messages_in_a_row(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [500]
    webhook = Webhook(receiver.url)
    post = await open_post(webhook)
    await run_out(post, *(f"run-{number}" for number in range(4)))
    assert post.courier.standing(webhook).failures == 4
    assert post.courier.standing(webhook).off_at is None
    with structlog.testing.capture_logs() as lines:
        await run_out(post, "run-4")
    standing = post.courier.standing(webhook)
    assert standing.failures == 5
    assert standing.off_at is not None
    [line] = [line for line in lines if line["event"] == "destination.switched_off"]
    assert (line["log_level"], line["destination"]) == ("critical", webhook.id)
    assert "answered 500" in line["reason"]


async def test_an_outage_shorter_than_a_day_switches_nothing_off(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [500]
    webhook = Webhook(receiver.url)
    post = await open_post(webhook)
    await post.tell(*(f"run-{number}" for number in range(12)))
    await post.advance(20 * 3600)
    assert post.courier.standing(webhook).off_at is None
    receiver.answers = [200]
    await post.advance(4 * 3600)
    assert {(await post.row(f"run-{number}")).status for number in range(12)} == {"DELIVERED"}
    assert post.courier.standing(webhook).failures == 0


async def test_one_message_that_is_delivered_starts_the_count_anew(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [500]
    webhook = Webhook(receiver.url)
    post = await open_post(webhook)
    await run_out(post, "a", "b", "c", "d")
    receiver.answers = [200]
    await post.tell("e")
    assert post.courier.standing(webhook).failures == 0
    receiver.answers = [500]
    await run_out(post, "f", "g", "h", "i")
    assert post.courier.standing(webhook).off_at is None


async def test_410_switches_off_at_once(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [410]
    webhook = Webhook(receiver.url)
    post = await open_post(webhook)
    await post.tell("run-1")
    row = await post.row()
    assert (row.status, row.attempts) == ("FAILED", 1)
    assert post.courier.standing(webhook).off_at is not None


async def test_what_is_switched_off_gets_nothing_and_the_store_says_so(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [410, 200]
    post = await open_post(Webhook(receiver.url))
    await post.tell("run-1")
    await post.tell("run-2")
    await post.advance(DAY)
    row = await post.row("run-2")
    assert len(receiver.ids) == 1
    assert (row.status, row.due_us) == ("FAILED", None)
    assert row.error is not None
    assert "the destination is switched off since" in row.error


async def test_it_stays_off_over_a_restart_until_it_is_switched_on(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [410, 200]
    store, webhook = MemoryStore(), Webhook(receiver.url)
    post = await open_post(webhook, store=store)
    await post.tell("run-1")
    await post.die()

    post = await open_post(webhook, store=store)
    assert post.courier.standing(webhook).off_at is not None
    await post.tell("run-2")
    assert len(receiver.ids) == 1
    await post.courier.switch_on(webhook)
    await post.tell("run-3")
    assert (await post.row("run-3")).status == "DELIVERED"
    await post.die()

    post = await open_post(webhook, store=store)
    assert post.courier.standing(webhook).off_at is None
    assert len(receiver.ids) == 2


async def test_how_far_the_count_is_outlives_a_restart(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [500]
    store, webhook = MemoryStore(), Webhook(receiver.url)
    post = await open_post(webhook, store=store)
    for number in range(5):
        assert post.courier.standing(webhook).off_at is None
        await run_out(post, f"run-{number}")
        await post.die()
        post = await open_post(webhook, store=store, clock=post.clock)
    assert post.courier.standing(webhook).off_at is not None


async def test_another_destination_is_not_concerned(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [410, 200]
    gone, good = Webhook(receiver.url, name="gone"), Webhook(receiver.url, name="good")
    post = await open_post(gone)
    await post.tell("run-1")
    await post.die()
    post = await open_post(gone, good, store=post.store)
    await post.tell("run-2")
    assert [row.status for row in sorted(await post.rows("run-2"), key=lambda row: row.destination)] == [
        "FAILED",
        "DELIVERED",
    ]


async def test_email_is_never_switched_off(open_post: OpenPost, mailbox: Mailbox) -> None:
    mailbox.to_mails = "554 no"
    email = Email("ops@example.com", sender="d@example.com", smtp_url=mailbox.url)
    post = await open_post(email)
    await post.tell(*(f"run-{number}" for number in range(10)))
    assert post.courier.standing(email).failures == 10
    mailbox.to_mails = "250 OK"
    await post.tell("another")
    assert len(mailbox.mails) == 1


async def test_a_destination_that_is_not_configured_gets_its_message_when_it_is_again(
    open_post: OpenPost, receiver: Receiver
) -> None:
    webhook = Webhook(receiver.url)
    post = await open_post(webhook)
    await post.record("run-1", "run-2")
    await post.die()

    post = await open_post(store=post.store, clock=post.clock)
    row = await post.row()
    assert (row.status, row.attempts) == ("PENDING", 1)
    assert row.error is not None
    assert "there is no such destination now" in row.error
    await post.advance(1)
    await post.die()

    post = await open_post(webhook, store=post.store, clock=post.clock)
    await post.advance(4)
    assert sorted(receiver.ids) == sorted([(await post.row("run-1")).message, (await post.row("run-2")).message])
    assert post.courier.standing(webhook).failures == 0


async def test_a_destination_that_never_comes_back(open_post: OpenPost, receiver: Receiver) -> None:
    post = await open_post(Webhook(receiver.url))
    await post.record("run-1")
    await post.die()
    post = await open_post(store=post.store, clock=post.clock)
    await post.advance(DAY)
    row = await post.row()
    assert (row.status, row.due_us) == ("FAILED", None)
    assert receiver.ids == []


async def test_a_success_under_way_when_it_was_switched_off_does_not_switch_it_on(
    open_post: OpenPost, receiver: Receiver
) -> None:
    answered = asyncio.Event()

    async def slowly() -> web.Response:
        await answered.wait()
        return web.Response()

    receiver.answers = [slowly, 410, 200]
    webhook = Webhook(receiver.url)
    post = await open_post(webhook)
    post.deliverer.add(await post.record("slow"))
    while len(receiver.ids) < 1:
        await checkpoint()
    post.deliverer.add(await post.record("gone"))
    while post.courier.standing(webhook).off_at is None:
        await checkpoint()
    answered.set()
    await post.rest()
    assert (await post.row("slow")).status == "DELIVERED"
    assert post.courier.standing(webhook).off_at is not None


async def test_a_test_message_says_what_became_of_it_and_leaves_no_trace(
    open_post: OpenPost, receiver: Receiver
) -> None:
    receiver.answers = [410, 500, 200]
    webhook = Webhook(receiver.url)
    post = await open_post(webhook)
    await post.tell("run-1")

    message, failure = await post.courier.test(webhook)
    assert failure is not None
    assert "answered 500" in str(failure)
    assert post.courier.standing(webhook).failures == 1

    assert await post.courier.test(webhook) == (message, None)
    assert receiver.received[-1].body.startswith(b'{"type":"destination.test"')
    assert post.courier.standing(webhook).off_at is not None
    assert await post.store.due_deliveries(10) == []


class Careless:
    """A destination with a mistake in it."""

    id = address = "careless"
    kind: Literal["webhook"] = "webhook"
    patience = None

    async def send(self, envelope: Envelope, http: HttpClient) -> None:
        raise KeyError(envelope.id, type(http))


async def test_a_mistake_in_a_destination_is_a_failed_attempt(open_post: OpenPost) -> None:
    post = await open_post(Careless())
    await post.tell("run-1")
    row = await post.row()
    assert (row.status, row.attempts) == ("PENDING", 1)
    assert row.error is not None
    assert row.error.startswith("KeyError: ")


async def test_what_was_recorded_by_somebody_else_meanwhile_is_read_again(
    open_post: OpenPost, receiver: Receiver
) -> None:
    """Standings in memory that are behind those in the store, as after a commit of which nobody knew the outcome."""
    receiver.answers = [500]
    store, webhook = MemoryStore(), Webhook(receiver.url)
    post = await open_post(webhook, store=store)
    await run_out(post, "run-1")
    other = Post(store, post.clock, [webhook])
    await other.tell("run-2")
    await other.advance(DAY)
    [row] = deliveries(failure_of("run-2"), [webhook], 0)
    assert (await post.row("run-2")).message == row.message
    assert (await post.row("run-2")).status == "FAILED"
    assert other.courier.standing(webhook).failures == 2
    await other.background.close()
    await other.http.close()
