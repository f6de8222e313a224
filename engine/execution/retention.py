"""How long ended runs and events are kept (the first seed's task history has a window of 90 days)."""

import asyncio
from functools import partial

import structlog

from durably.engine.errors import StoreError
from durably.engine.execution.background import Background
from durably.engine.execution.journal import Journal, settle
from durably.store import Forget, Forgotten, Result
from durably.store.runtime import SECOND_US, Clock, Timer

__all__ = ["Retention"]

log = structlog.get_logger("durably")

AT_ONCE = 50
"""Runs, and events, that one commit deletes: others wait behind it."""
EVERY_US = 3600 * SECOND_US


class Retention:
    """Deletes what is older than `keep_us`: at the start and every hour, a little at a time. None: never."""

    def __init__(self, journal: Journal, clock: Clock, background: Background, keep_us: int | None) -> None:
        self._journal = journal
        self._clock = clock
        self._background = background
        self._keep_us = keep_us
        self._timer: Timer | None = None
        self._closed = False

    def open(self) -> None:
        """Begin. The store is open."""
        if self._keep_us is not None:
            self._background.spawn(self._sweep(self._keep_us), "retention")

    def close(self) -> None:
        """Delete no more: what is left is old enough at the next start too."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    async def _sweep(self, keep_us: int) -> None:
        try:
            runs, events = await self._delete(self._clock.now_us() - keep_us)
        except StoreError as error:
            log.warning("retention.postponed", reason=str(error))
        else:
            if runs or events:
                log.info("retention.deleted", runs=runs, events=events)
        if not self._closed:
            self._timer = self._clock.call_at_wall(self._clock.wall_us() + EVERY_US, self.open)

    async def _delete(self, before_us: int) -> tuple[int, int]:
        runs = events = 0
        while not self._closed:
            self._journal.check_writable()
            answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            self._journal.add(Forget(before_us, AT_ONCE, after=partial(settle, answer)))
            gone = await answer
            assert isinstance(gone, Forgotten)
            runs, events = runs + gone.runs, events + gone.events
            if gone == Forgotten(0, 0):  # fewer than asked for may be because their logs are long
                break
        return runs, events
