"""Receivers of messages on loopback, and a deliverer to send them."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from durably.engine.notifications.destination import Destination
from durably.engine.testing import VirtualClock
from durably.store import MemoryStore, Store
from durably.store.runtime import SystemClock
from tests.engine.notifications.bare_post import Post
from tests.engine.notifications.real_receivers import Mailbox, Receiver, listening

ServeMail = Callable[..., Awaitable[Mailbox]]
OpenPost = Callable[..., Awaitable[Post]]


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    """Gets webhooks."""
    async with listening() as found:
        yield found


@pytest.fixture
async def serve_mail() -> AsyncGenerator[ServeMail]:
    """Starts mail servers; options are aiosmtpd's, and `tls` is for TLS from the first byte."""
    async with AsyncExitStack() as exits:

        async def serve(tls: ssl.SSLContext | None = None, **options: Any) -> Mailbox:
            mailbox = Mailbox()
            loop = asyncio.get_running_loop()
            make = partial(SMTP, mailbox, loop=loop, hostname="mail.test", **options)
            server = await loop.create_server(make, "127.0.0.1", 0, ssl=tls)
            exits.callback(server.close)
            mailbox.port = server.sockets[0].getsockname()[1]
            return mailbox

        yield serve


@pytest.fixture
async def mailbox(serve_mail: ServeMail) -> Mailbox:
    """A mail server without TLS and passwords."""
    return await serve_mail()


@pytest.fixture
async def silent() -> AsyncGenerator[str]:
    """The URL of a mail server that takes connections and says nothing."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.fixture
async def open_post() -> AsyncGenerator[OpenPost]:
    """Starts a deliverer for these destinations, on a store of its own unless one is given."""
    started: list[Post] = []

    async def start(*destinations: Destination, store: Store | None = None, clock: VirtualClock | None = None) -> Post:
        store = store or MemoryStore()
        await store.open()
        # Receivers compare a signature's time with the clock on the wall.
        post = Post(store, clock or VirtualClock(SystemClock().wall_us()), destinations)
        started.append(post)
        await post.deliverer.open()
        await post.rest()
        return post

    yield start
    for post in started:
        await post.die()
