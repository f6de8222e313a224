"""Servers on loopback ports: ones that speak HTTP properly, and ones that send whatever a test says."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, closing

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from durably.engine.http.client import HttpClient

LOOPBACK = ("127.0.0.0/8", "::1/128")
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Serve = Callable[..., Awaitable[str]]
Raw = Callable[..., Awaitable[str]]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def client(stack: AsyncExitStack) -> HttpClient:
    """A client that may reach loopback addresses."""
    return await stack.enter_async_context(HttpClient(LOOPBACK))


@pytest.fixture
async def serve(stack: AsyncExitStack) -> Serve:
    """Serve HTTP with a handler: the server's URL."""

    async def start(handler: Handler, tls: ssl.SSLContext | None = None) -> str:
        runner = web.ServerRunner(web.Server(handler, access_log=None))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener, ssl_context=tls).start()
        return f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}"

    return start


@pytest.fixture
async def raw(stack: AsyncExitStack) -> Raw:
    """Answer each connection's first request with these bytes, then close, or reset, or hang: the server's URL."""

    async def start(answer: bytes, *, reset: bool = False, hang: bool = False, host: str = "127.0.0.1") -> str:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with closing(writer):
                await reader.read(65_536)
                writer.write(answer)
                if hang:
                    await reader.read()  # until the client gives up
                if reset:
                    connection = writer.get_extra_info("socket")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        server = await asyncio.start_server(talk, host, 0)
        await stack.enter_async_context(server)
        return f"http://{host}:{server.sockets[0].getsockname()[1]}"

    return start


class Names(AbstractResolver):
    """A DNS whose names have other addresses each time they are asked for, the last of them from then on."""

    def __init__(self, **names: list[list[str]]) -> None:
        self._turns = {name: list(turns) for name, turns in names.items()}
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        del family
        self.asked += 1
        addresses = await self.addresses(host)
        if not addresses:
            raise OSError(None, "Name or service not known")
        return [self._result(host, each, port) for each in addresses]

    async def addresses(self, host: str) -> list[str]:
        """The addresses of a name."""
        turns = self._turns.get(host.partition(".")[0], [[]])
        return turns.pop(0) if len(turns) > 1 else turns[0]

    def _result(self, host: str, address: str, port: int) -> ResolveResult:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)

    async def close(self) -> None:
        """There is nothing to close."""
