"""Requests that wait for a run to end."""

import asyncio
from typing import Any

from aiohttp import web

from durably import Run

__all__ = ["Waits"]


class Waits:
    """Waits for runs, and lets go of all of them when the server stops."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Task[Any]] = set()

    async def for_end(self, run: Run[Any], seconds: float) -> None:
        """Return when the run has ended, however it did, when the time is over, or when the server stops."""
        waiting = asyncio.create_task(run.result(timeout=seconds), name=f"wait for {run.id}")
        self._waiting.add(waiting)
        try:
            await asyncio.wait([waiting])
        finally:
            self._waiting.discard(waiting)
            waiting.cancel()  # of no effect on one that has ended, but that its error counts as looked at

    async def stop(self, _: web.Application) -> None:
        """Let go."""
        for waiting in self._waiting:
            waiting.cancel()
