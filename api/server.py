"""The HTTP server: an address, the application behind it, and an orderly end."""

import asyncio
import socket
from types import TracebackType
from typing import Self

from aiohttp import web

from durably import DurablyError, Engine
from durably.api.app import make_app
from durably.api.connection import Connection, Gate
from durably.api.limits import LIMITS, Limits
from durably.api.origin import is_loopback
from durably.engine.access.keys import KIND, Keys

__all__ = ["DEFAULT_HOST", "DEFAULT_PORT", "HttpServer", "serve"]

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8484
BACKLOG = 1024


class HttpServer:
    """A server that listens. Close it, or use it as an async context manager."""

    def __init__(self, runner: web.AppRunner, listener: asyncio.Server, gate: Gate, host: str) -> None:
        self._runner = runner
        self._listener = listener
        self._gate = gate
        self.host = host
        self.port: int = listener.sockets[0].getsockname()[1]
        """The port it listens on, also when any was asked for with 0."""

    @property
    def url(self) -> str:
        """Where it can be reached."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._gate.open

    async def close(self) -> None:
        """Take no more connections, answer what is under way within `Limits.stop_s`, and end. Legal twice."""
        self._listener.close()
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


async def serve(
    engine: Engine, host: str = DEFAULT_HOST, port: int = DEFAULT_PORT, *, limits: Limits = LIMITS
) -> HttpServer:
    """Serve the API of `engine`; it listens when this returns. Port 0 takes any that is free.

    The server may outlive the engine: while that drains and after it, `/health/ready` and whatever needs the
    engine answer 503. Raises `DurablyError` when the address is taken, or others can reach it and there is no API key.
    """
    await _check_host(engine, host)
    runner = web.AppRunner(make_app(engine, limits), handle_signals=False, shutdown_timeout=limits.stop_s)
    await runner.setup()
    server = runner.server
    assert server is not None
    loop = asyncio.get_running_loop()
    gate = Gate(limits)
    try:
        listener = await loop.create_server(lambda: Connection(server, loop, gate), host, port, backlog=BACKLOG)
    except OSError as error:
        await runner.cleanup()
        raise DurablyError(
            f"cannot listen on {host} port {port}: {error.strerror or error}. Stop what listens there, or "
            "take another port."
        ) from error
    serving = HttpServer(runner, listener, gate, host)
    engine.reached_at(serving.url)
    return serving


async def _check_host(engine: Engine, host: str) -> None:
    """Refuse addresses that others can reach while nothing keeps them out: they could run workflows."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM)  # noqa: S104 - what "" means
    except (OSError, UnicodeError) as error:
        raise DurablyError(f"cannot listen on {host!r}: {error}. Use 127.0.0.1, ::1 or localhost.") from error
    if all(is_loopback(str(address[0])) for *_, address in found):
        return
    if not Keys(await engine.core.store.documents(KIND)).configured:
        raise DurablyError(
            f"cannot listen on {host!r}: others can reach it, and there is no API key, which would keep them out. Make "
            f"one with `durably keys create NAME --store {engine.core.store.location}`, or use 127.0.0.1, ::1 or "
            "localhost."
        )
