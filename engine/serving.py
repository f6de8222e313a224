"""What an engine knows of the layer above it: that there is something that serves it.

The engine imports nothing of the API (DESIGN section 4). `Engine.serve_http` looks it up when it is called, and these
are the types of what it finds.
"""

from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, cast

if TYPE_CHECKING:
    from durably.engine.engine import Engine

__all__ = ["HttpServer", "serve"]


class HttpServer(Protocol):
    """A server that listens. Close it, or use it as an async context manager."""

    host: str
    port: int
    """The port it listens on, also when any was asked for with 0."""

    @property
    def url(self) -> str:
        """Where it can be reached."""
        ...

    async def close(self) -> None:
        """Take no more connections, answer what is under way, and end. Legal twice."""
        ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class _Api(Protocol):
    async def serve(self, engine: "Engine", host: str, port: int) -> HttpServer: ...


async def serve(engine: "Engine", host: str, port: int) -> HttpServer:
    """Serve an engine's API. Raises `DurablyError` when it cannot listen there."""
    api = cast("_Api", import_module("durably.api.server"))
    return await api.serve(engine, host, port)
