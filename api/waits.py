"""Requests that last: until a run ends, or as long as somebody follows one."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta

from durably.api.connection import Connection
from durably.api.errors import Problem
from durably.api.limits import LIMITS_KEY
from durably.api.operations import Parameter

__all__ = ["WAIT", "Waits", "wait_s"]

WAIT = Parameter("wait", Annotated[float, Meta(ge=0)], "Answer when the run has ended, or after so many seconds")


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


def wait_s(request: web.Request) -> float:
    """How long the client wants to wait for a run's end, and may; 0 is not at all."""
    text = request.query.get(WAIT.name, "0")
    try:
        seconds = float(text)
        if not seconds >= 0:
            raise ValueError(text)
    except ValueError:
        detail = f"wait is {text[:100]!r}; it is a number of seconds"
        raise Problem(400, "invalid_parameter", detail, parameter=WAIT.name) from None
    return min(seconds, request.app[LIMITS_KEY].wait_s)
