"""A webhook's request as a receiver gets it, and what may be known of its URL."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import standardwebhooks
import structlog
from aiohttp import web

from durably.engine.http.client import HttpClient
from durably.engine.notifications import webhook as module
from durably.engine.notifications.destination import Gone, NotDelivered, Rejected
from durably.engine.notifications.message import Envelope, encode_failure
from durably.engine.notifications.webhook import Webhook
from durably.store.runtime import SystemClock
from tests.engine.notifications.bare_post import Post, failure_of
from tests.engine.notifications.real_receivers import Receiver

pytestmark = pytest.mark.anyio

OpenPost = Callable[..., Awaitable[Post]]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the Standard Webhooks specification's example


async def test_a_receiver_verifies_it_with_the_published_package(open_post: OpenPost, receiver: Receiver) -> None:
    post = await open_post(Webhook(receiver.url, secret=SECRET, headers={"Authorization": "Bearer t"}))
    await post.tell("run-1")
    [request] = receiver.received
    message = standardwebhooks.Webhook(SECRET).verify(request.body, request.headers)
    assert message["type"] == "run.failed"
    assert message["data"] == msgspec.json.decode(msgspec.json.encode(failure_of("run-1")))
    assert request.path == "/hooks/s3cr3t"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["user-agent"].startswith("durably/")
    assert request.id == (await post.row()).message


async def test_each_attempt_is_signed_anew_under_the_same_id(open_post: OpenPost, receiver: Receiver) -> None:
    receiver.answers = [500, 200]
    post = await open_post(Webhook(receiver.url, secret=SECRET))
    await post.tell("run-1")
    await post.advance(5)
    first, second = receiver.received
    assert first.id == second.id
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 5
    for request in (first, second):
        standardwebhooks.Webhook(SECRET).verify(request.body, request.headers)


async def send(webhook: Webhook, *allow: str) -> None:
    async with HttpClient(allow or ("127.0.0.0/8",)) as http:
        body = encode_failure(failure_of(), 0)
        await webhook.send(Envelope("msg_1", body, SystemClock().wall_us()), http)


async def test_a_receiver_that_wants_no_more(receiver: Receiver) -> None:
    receiver.answers = [410]
    with pytest.raises(Gone):
        await send(Webhook(receiver.url))


async def test_a_private_address_that_is_not_allowed_is_not_tried_again(receiver: Receiver) -> None:
    with pytest.raises(Rejected, match="http_allow"):
        await send(Webhook(receiver.url), "10.0.0.0/8")
    assert receiver.received == []


async def test_a_receiver_that_hangs(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.05)

    async def hang() -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    receiver.answers = [hang]
    with pytest.raises(NotDelivered, match=r"no answer within 0\.05 s"):
        await send(Webhook(receiver.url))


async def test_neither_path_nor_secrets_show_anywhere(open_post: OpenPost, receiver: Receiver) -> None:
    token = "t0ps3cr3t-t0ken"  # noqa: S105 - made up
    receiver.answers = [web.Response(status=500, text=f"bad {token} at {receiver.url}, /hooks/s3cr3t")]
    webhook = Webhook(receiver.url, secret=SECRET, headers={"Authorization": f"Bearer {token}"})
    post = await open_post(webhook)
    with structlog.testing.capture_logs() as lines:
        await post.tell("run-1")
    row = await post.row()
    for text in (repr(webhook), webhook.address, webhook.id, str(row.error), repr(lines), row.body.decode()):
        assert "hooks" not in text
        assert "s3cr3t" not in text
        assert SECRET[6:] not in text
    assert row.error is not None
    assert "answered 500" in row.error
    assert webhook.address in row.error


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example"),
        ("https://a.example:8443/x", "https://a.example:8443/…"),
        ("http://a.example?token=x", "http://a.example/…"),
    ],
)
def test_how_much_of_a_url_is_shown(url: str, shown: str) -> None:
    assert Webhook(url).address == shown


@pytest.mark.parametrize(
    "url",
    ["", "a.example/hook", "ftp://a.example", "https://", "https://u:p@a.example", "https://a example", "https://a:0/"],
)
def test_urls_that_cannot_be(url: str) -> None:
    with pytest.raises(ValueError, match="a webhook's url is an absolute http or https URL"):
        Webhook(url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Type", "text/plain"),
        ("webhook-id", "1"),
        ("Webhook-Signature", "v1,x"),
        ("Host", "b.example"),
        ("Transfer-Encoding", "chunked"),
        ("a b", "x"),
        ("", "x"),
        ("X-A", "x\r\nX-B: y"),
        ("X-A", "\ud800"),
    ],
)
def test_headers_that_cannot_be(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header"):
        Webhook("https://a.example/hooks", headers={name: value})
