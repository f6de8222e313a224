"""Which steps may start now: at most so many at once, and suspects one at a time."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durably.engine.execution.live import LiveRun

__all__ = ["SUSPECT_AFTER", "Admission"]

SUSPECT_AFTER = 2
"""Crash losses in a row after which a step may be what kills the process (DESIGN rule 12)."""


class Admission:
    """At most `max_steps` bodies at once, first come first served; of suspects one at a time.

    Only so is the step that kills its process found, and no innocent one beside it blamed. `start` is called when the
    turn of a step that had to wait has come; it calls `enter` again, or `pass_on` when the step is no longer wanted.
    """

    def __init__(self, max_steps: int, start: Callable[["LiveRun", str], None]) -> None:
        self._free = max_steps
        self._start = start
        self._closed = False
        self._queue: deque[tuple[LiveRun, str]] = deque()
        self._suspects: deque[tuple[LiveRun, str]] = deque()
        self._suspect: tuple[LiveRun, str] | None = None

    def enter(self, run: "LiveRun", key: str, losses: int = 0) -> bool:
        """Take a place for this step's body. False when it has to wait: `start` is then called later."""
        if self._closed:
            return False
        if losses >= SUSPECT_AFTER and self._suspect is not None:
            self._wait(self._suspects, run, key)
            return False
        if self._free <= 0:
            self._wait(self._queue, run, key)
            return False
        self._free -= 1
        if losses >= SUSPECT_AFTER:
            self._suspect = (run, key)
        return True

    def leave(self, run: "LiveRun", key: str) -> None:
        """Give the place back: the body has ended, or never began."""
        self._free += 1
        if self._suspect is not None and self._suspect == (run, key):
            self._suspect = None
        self.pass_on()

    def close(self) -> None:
        """Let nobody in any more: the engine stops. Steps that are called now are written down as scheduled."""
        self._closed = True

    def pass_on(self) -> None:
        """Let the next ones in that fit."""
        if self._closed:
            return
        if self._suspects and self._suspect is None:
            self._next(self._suspects)
        if self._queue and self._free > 0:
            self._next(self._queue)

    @staticmethod
    def _wait(queue: "deque[tuple[LiveRun, str]]", run: "LiveRun", key: str) -> None:
        run.waiting += 1  # which keeps it in memory
        queue.append((run, key))

    def _next(self, queue: "deque[tuple[LiveRun, str]]") -> None:
        run, key = queue.popleft()
        run.waiting -= 1
        self._start(run, key)
