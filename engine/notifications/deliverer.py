"""Which message is due when: attempts begin on time, a few at once for each destination, and go on after a crash."""

import asyncio
from collections.abc import Iterable
from functools import partial
from heapq import heappop, heappush
from typing import Any, NamedTuple

import structlog

from durably.engine.errors import StoreError
from durably.engine.execution.background import Background
from durably.engine.execution.documents import DocumentConflict
from durably.engine.execution.journal import Journal
from durably.engine.notifications.courier import Courier
from durably.store import DeliveryRow, Store
from durably.store.runtime import SECOND_US, Clock, Timer

__all__ = ["Deliverer"]

log = structlog.get_logger("durably")

AT_ONCE = 4
"""Attempts under way for one destination. Each has its own, so one that hangs keeps no other waiting."""
KEPT = 10_000
"""Messages that wait in memory, with about 300 bytes each; further ones wait in the store."""
UNKNOWN_US = 5 * SECOND_US
"""When to look again at a message whose attempt could not be recorded."""


class Waiting(NamedTuple):
    """A message to be delivered. They are taken in this order."""

    due_us: int
    message: str
    run_id: str


class Lane:
    """What waits for one destination."""

    __slots__ = ("running", "timer", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.running = 0
        self.timer: Timer | None = None

    def is_due(self, now_us: int) -> bool:
        """Whether an attempt can begin."""
        return bool(self.waiting) and self.waiting[0].due_us <= now_us and self.running < AT_ONCE


class Deliverer:
    """Has pending messages delivered by `courier`.

    At least once: what was sent and is not recorded as sent when the process dies is sent again, with the same id. In
    memory is only which message is due when; its row is read just before the attempt, and decides.
    """

    def __init__(self, courier: Courier, store: Store, journal: Journal, clock: Clock, background: Background) -> None:
        self.courier = courier
        self._store = store
        self._journal = journal
        self._clock = clock
        self._background = background
        self._lanes: dict[str, Lane] = {}
        self._known: set[str] = set()
        self._attempts: set[asyncio.Task[Any]] = set()
        self._ended = asyncio.Event()
        self._more = False
        self._stopped = False

    # -- start and stop

    async def open(self) -> None:
        """Go on with what is pending. The store is open."""
        await self.courier.open()
        self.look()

    async def close(self, seconds: float) -> None:
        """Give what is due now its attempt, for at most that many seconds. The rest is for the next engine."""
        try:
            async with asyncio.timeout(seconds):
                while self._journal.failure is None and self._at_work:
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            log.warning("notifications.unfinished", pending=len(self._known))
        self.stop()

    def stop(self) -> None:
        """Begin no attempt any more, and break off those under way."""
        self._stopped = True
        for lane in self._lanes.values():
            if lane.timer is not None:
                lane.timer.cancel()
        for attempt in self._attempts:
            attempt.cancel()

    @property
    def _at_work(self) -> bool:
        now_us = self._clock.now_us()
        return any(lane.running or lane.is_due(now_us) for lane in self._lanes.values())

    # -- what waits

    def add(self, rows: Iterable[DeliveryRow]) -> None:
        """Have these delivered. They are recorded."""
        for row in rows:
            if row.due_us is None or row.message in self._known or self._stopped:
                continue
            if len(self._known) >= KEPT:
                self._more = True
                continue
            self._known.add(row.message)
            lane = self._lanes.setdefault(row.destination, Lane())
            heappush(lane.waiting, Waiting(row.due_us, row.message, row.run_id))
            self._drive(lane)

    def pending(self, destination: str) -> int:
        """How many messages for that destination are known to wait."""
        lane = self._lanes.get(destination)
        return 0 if lane is None else len(lane.waiting) + lane.running

    def look(self) -> None:
        """Find in the store what is pending: at the start, and when nobody knows what was committed."""
        self._more = False
        self._background.spawn(self._load(), "pending deliveries")

    async def _load(self) -> None:
        rows = await self._background.read(partial(self._store.due_deliveries, KEPT))
        self._more = self._more or len(rows) == KEPT
        self.add(rows)

    def _drive(self, lane: Lane) -> None:
        """Begin what is due, and come back for what is due next. While nothing can be recorded nothing is sent."""
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        if self._stopped:
            return
        now_us = self._clock.now_us()
        writable = self._journal.failure is None
        while writable and lane.is_due(now_us):
            lane.running += 1
            self._background.spawn(self._attempt(lane, heappop(lane.waiting)), "delivery")
        if lane.waiting and lane.running < AT_ONCE:
            due_us = lane.waiting[0].due_us if writable else now_us + SECOND_US
            lane.timer = self._clock.call_at(due_us, partial(self._drive, lane))

    async def _attempt(self, lane: Lane, waiting: Waiting) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._attempts.add(task)
        try:
            again_us = await self.courier.deliver(waiting.run_id, waiting.message)
        except (StoreError, DocumentConflict):
            again_us = self._clock.now_us() + UNKNOWN_US
        finally:
            self._attempts.discard(task)
            lane.running -= 1
            self._ended.set()
        if again_us is None:
            self._known.discard(waiting.message)
        else:
            heappush(lane.waiting, waiting._replace(due_us=again_us))
        self._drive(lane)
        if self._more and len(self._known) <= KEPT // 2:
            self.look()
