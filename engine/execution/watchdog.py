"""Names what holds up the event loop: a workflow's body that never yields, or a step that blocks.

While the loop is held up, nothing can be told from within it, so a thread looks on. It writes one line for each
hold-up, with the place in the code.
"""

import asyncio
import sys
import traceback
from types import FrameType

import structlog

from durably.engine.loop.run_loop import RunLoop
from durably.store.runtime import Clock, Heartbeat, current_thread_id

__all__ = ["Watchdog"]

log = structlog.get_logger("durably.watchdog")

PERIOD_S = 1.0
"""How often the loop says that it is alive, and how long it may stay silent."""


class Watchdog:
    """Watches the loop it was started on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._thread_id = current_thread_id()
        self._seen_us = clock.elapsed_us()
        self._told = False
        self._beat: asyncio.TimerHandle | None = None
        self._heartbeat = Heartbeat("durably-watchdog", PERIOD_S, self._look)
        self._alive()

    def _alive(self) -> None:
        self._seen_us = self._clock.elapsed_us()
        self._told = False
        self._beat = self._loop.call_later(PERIOD_S / 2, self._alive)

    def _look(self) -> None:
        """On the watchdog's own thread."""
        silent_s = (self._clock.elapsed_us() - self._seen_us) / 1e6
        frame = sys._current_frames().get(self._thread_id)  # pyright: ignore[reportPrivateUsage]  # documented
        if silent_s < PERIOD_S * 1.5 or self._told or frame is None:
            return
        self._told = True
        workflow, place = _whose(frame)
        log.warning(
            "loop.held_up",
            seconds=round(silent_s, 1),
            by=workflow,
            at=place,
            hint="nothing else runs meanwhile; await something, or make it a sync step, which runs in a thread",
        )

    def close(self) -> None:
        """Stop watching."""
        if self._beat is not None:
            self._beat.cancel()
        self._heartbeat.stop()


def _whose(frame: FrameType) -> tuple[str, str]:
    """Whose code holds up the loop, and where: the innermost frame that is not ours."""
    stack = traceback.extract_stack(frame)
    users = [each for each in stack if "/durably/" not in each.filename] or stack
    last = users[-1]
    owner = "a step or a callback"
    walk: FrameType | None = frame
    while walk is not None:
        candidate = walk.f_locals.get("self")
        instance = candidate.owner if isinstance(candidate, RunLoop) else None
        if instance is not None:  # None while it is evicted: the other thread goes on as we look
            owner = f"workflow {instance.runnable.name!r}, run {instance.beginning.run_id}"
            break
        walk = walk.f_back
    return owner, f"{last.filename}:{last.lineno} in {last.name}"
