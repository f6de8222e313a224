"""The engine's background tasks: each has a name and an owner, and none fails in silence."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import structlog

from durably.store import StoreUnavailable
from durably.store.runtime import SECOND_US, Clock

__all__ = ["Background"]

log = structlog.get_logger("durably")

T = TypeVar("T")


class Background:
    """Tasks that belong to one engine. `failed` is told of an error that one of them did not handle."""

    __slots__ = ("_clock", "_closing", "_failed", "_pauses", "_tasks")

    def __init__(self, clock: Clock, failed: Callable[[BaseException], None]) -> None:
        self._clock = clock
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()
        self._pauses: set[asyncio.Future[None]] = set()
        self._closing = False

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run `coroutine` until it ends or the engine closes."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"durably: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    async def read(self, look: Callable[[], Awaitable[T]]) -> T:
        """What one of these tasks finds in the store, once that can be read: it tries again each second.

        Only damage ends an engine, or another owner of its store (DESIGN rule 8). When the engine stops nobody tries
        again: the task is canceled, and what it was to do is found at the next start.
        """
        while True:
            try:
                return await look()
            except StoreUnavailable as failure:
                log.error("store.unreadable", reason=str(failure))
            await self._pause()

    async def _pause(self) -> None:
        if self._closing:
            raise asyncio.CancelledError
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(self._clock.now_us() + SECOND_US, partial(_end, over))
        self._pauses.add(over)
        try:
            await over
        finally:
            timer.cancel()
            self._pauses.discard(over)

    @property
    def busy(self) -> bool:
        """Whether any task is under way, and none of them waits for the store to be readable."""
        return bool(self._tasks) and not self._pauses

    async def settle(self) -> None:
        """Wait until nothing is under way, for an engine that stops."""
        self._closing = True
        for over in self._pauses:
            over.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Cancel what is left and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _end(pause: "asyncio.Future[None]") -> None:
    if not pause.done():
        pause.set_result(None)
