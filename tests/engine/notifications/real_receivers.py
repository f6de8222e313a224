"""Those who get messages: an HTTP server and a mail server on loopback that keep what came."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any, NamedTuple, cast

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session


class Received(NamedTuple):
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Answer = int | web.Response | Callable[[], Awaitable[web.Response]]


class Receiver:
    """An HTTP server that keeps what it gets, and answers with `answers` in turn, the last one from then on."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[Answer] = []
        self.url = ""

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.received]

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.path, headers, await request.read()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else (self.answers or [200])[0]
        if isinstance(answer, int):
            return web.Response(status=answer)
        return answer if isinstance(answer, web.Response) else await answer()


@asynccontextmanager
async def listening() -> AsyncGenerator[Receiver]:
    """A receiver that can be reached, at a path that is a secret."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/s3cr3t"
    yield receiver
    await runner.cleanup()


class Mailbox:
    """A mail server that keeps what it takes. `refused` are its answers to recipients, `to_mails` to any mail."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.sessions: list[Session] = []
        self.refused: dict[str, str] = {}
        self.to_mails = "250 OK"
        self.answering = asyncio.Event()
        """While it is not set, mails get no answer."""
        self.answering.set()
        self.hung_up = asyncio.Event()
        """Set when a client goes away while it waits for that answer."""
        self.farewell = "221 Bye"
        self.port = 0

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def mails(self) -> list[EmailMessage]:
        """What came, parsed."""
        return [cast("EmailMessage", _parse(cast("bytes", each.content))) for each in self.envelopes]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, session, options
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        del server
        try:
            await self.answering.wait()
        except asyncio.CancelledError:
            self.hung_up.set()
            raise
        self.sessions.append(session)
        if self.to_mails.startswith("250"):
            self.envelopes.append(envelope)
        return self.to_mails

    async def handle_QUIT(  # noqa: N802 - aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        del server, session, envelope
        return self.farewell


_parse: Any = BytesParser(policy=policy.SMTP).parsebytes
