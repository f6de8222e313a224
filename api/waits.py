"""Requests that last: until a run ends, or as long as somebody follows one."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from durably.api.connection import Connection

__all__ = ["Waits"]


class Waits:
    """Holds requests, and lets go of each when its client goes away, and of all when the server stops."""

    def __init__(self) -> None:
        self._held: set[asyncio.Task[Any]] = set()

    async def hold(self, request: web.Request, work: Coroutine[Any, Any, Any]) -> BaseException | None:
        """Return when `work` has ended, with what it raised; None too when it was let go of, which cancels it."""
        connection = request.protocol
        assert isinstance(connection, Connection)
        task = asyncio.create_task(work, name=f"{request.method} {request.path}")
        self._held.add(task)
        connection.when_lost(task.cancel)
        try:
            await asyncio.wait([task])
            return None if task.cancelled() else task.exception()
        finally:
            connection.when_lost(None)
            self._held.discard(task)
            task.cancel()  # should this request be canceled itself

    async def stop(self, _: web.Application) -> None:
        """Let go."""
        for task in self._held:
            task.cancel()
