"""What lies in a run's inbox until it is for the run."""

from collections import deque
from collections.abc import Collection, Iterator
from heapq import merge
from typing import Any

from durably.engine.execution.inbox import Kept, SignalItem, claim
from durably.engine.log.records import Input, SignalAwaited
from durably.engine.log.state import RunState

__all__ = ["KeptItems"]

_NONE: dict[Any, Any] = {}
"""What most runs have: 64 bytes each, so it is shared, and never put into."""


class KeptItems:
    """The items of one run, by number.

    Signals may lie here by the thousand, and a run looks whenever anything happens to it: of those with one name, only
    the first can be its next input, and only while it waits for that name.
    """

    __slots__ = ("_items", "_others", "_signals")

    def __init__(self) -> None:
        self._items: dict[int, Kept] = _NONE
        self._signals: dict[str, deque[int]] = _NONE
        """By name, oldest first."""
        self._others: dict[int, None] = _NONE

    def __contains__(self, number: int) -> bool:
        return number in self._items

    def __iter__(self) -> Iterator[int]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def put(self, number: int, item: Kept) -> None:
        """Keep an item. Those put later are newer."""
        self._items = self._items or {}
        self._items[number] = item
        if isinstance(item, SignalItem):
            self._signals = self._signals or {}
            self._signals.setdefault(item.name, deque()).append(number)
        else:
            self._others = self._others or {}
            self._others[number] = None

    def clear(self) -> None:
        """Let go of all of them."""
        self._items.clear()
        self._signals.clear()
        self._others.clear()

    def take(self, run_id: str, state: RunState, pending: Collection[str]) -> tuple[int, Input | None] | None:
        """The oldest item that is an input for the run now, or no use any more (None). It is kept no longer.

        `pending` are the keys of what the body waits for.
        """
        for number in merge(self._awaited(state), self._others):
            claimed = claim(self._items[number], run_id, state, pending)
            if claimed is not True:
                self._forget(number)
                return number, claimed or None
        return None

    def _awaited(self, state: RunState) -> list[int]:
        """The oldest signal of each name that the run waits for, in order."""
        if not self._signals:
            return []
        names = {wait.signal for wait in state.waits.values() if isinstance(wait, SignalAwaited)}
        return sorted(self._signals[name][0] for name in names & self._signals.keys())

    def _forget(self, number: int) -> None:
        item = self._items.pop(number)
        if not isinstance(item, SignalItem):
            del self._others[number]
            return
        signals = self._signals[item.name]
        signals.popleft()  # only the oldest is ever taken
        if not signals:
            del self._signals[item.name]
