"""A real server that HTTP steps and jobs send their requests to."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeAlias

from aiohttp import web
from multidict import CIMultiDict

__all__ = ["LOOPBACK", "Destination", "open_destination"]

LOOPBACK = ("127.0.0.0/8",)
"""What has to be allowed, so that it can be reached."""

Answer: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Received(NamedTuple):
    """A request that has come."""

    method: str
    path: str
    headers: CIMultiDict[str]
    body: str


class Destination:
    """Answers with `statuses` one after another, the last one for ever; or as `answer` says."""

    def __init__(self) -> None:
        self.statuses = [200]
        self.answer: Answer | None = None
        self.requests: list[Received] = []
        self.url = ""

    @property
    def hits(self) -> int:
        """How many requests have come."""
        return len(self.requests)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        received = Received(request.method, request.path, CIMultiDict(request.headers), await request.text())
        self.requests.append(received)
        if self.answer is not None:
            return await self.answer(request)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return web.Response(status=status, text=f"status {status}", headers={"X-Served": "yes"})


@asynccontextmanager
async def open_destination() -> AsyncGenerator[Destination]:
    """A destination on a free port."""
    destination = Destination()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", destination.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        destination.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield destination
    finally:
        await runner.cleanup()
