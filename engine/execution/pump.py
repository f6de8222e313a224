"""Work that may come in thousands at once, done in slices so that the loop stays responsive."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from durably.store.runtime import Clock

__all__ = ["SLICE_US", "Pump"]

T = TypeVar("T")
SLICE_US = 2_000
"""How long one slice may take: 2 ms kept the loop's lag under 10 ms (reference: engine-feasibility, point 2)."""


class Pump(Generic[T]):
    """A queue whose items are handled in order, about 2 ms of them in one turn of the loop."""

    __slots__ = ("_clock", "_handle", "_items", "_scheduled")

    def __init__(self, clock: Clock, handle: Callable[[T], None]) -> None:
        self._clock = clock
        self._handle = handle
        self._items: deque[T] = deque()
        self._scheduled = False

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not self._items

    def add(self, item: T) -> None:
        """Handle `item` in a later turn of the loop."""
        self._items.append(item)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._slice)

    def _slice(self) -> None:
        self._scheduled = False
        items, handle, now_us = self._items, self._handle, self._clock.elapsed_us
        end_us = now_us() + SLICE_US
        while items:
            handle(items.popleft())
            if now_us() > end_us:
                break
        if items and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._slice)
