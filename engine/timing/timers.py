"""Which run is due when: the next due time of each run in a wheel, those beyond a horizon only in the store."""

from collections.abc import Awaitable, Callable
from functools import partial

from durably.engine.execution.background import Background
from durably.engine.execution.pump import Pump
from durably.engine.timing.wheel import Timer as WheelTimer
from durably.engine.timing.wheel import Wheel
from durably.store.runtime import SECOND_US, Clock, Timer

__all__ = ["HORIZON_US", "Timers"]

HORIZON_US = 600 * SECOND_US
"""Runs due later than this are not held in memory, so that memory does not grow with month-long sleeps."""
PAGE = 1_000

DueRuns = Callable[[int, tuple[int, int], int], Awaitable[list[tuple[int, int]]]]


class Timers:
    """One entry for each run that waits for time: its earliest due time. `wake` is called with the run's number.

    A run never wakes early, and after a time of downtime at once. One callback of the clock is armed for the wheel as a
    whole, for its earliest entry, and one for the next look into the store.
    """

    def __init__(self, clock: Clock, wake: Callable[[int], None], due_runs: DueRuns, background: Background) -> None:
        self._clock = clock
        self._due_runs = due_runs
        self._background = background
        self._wheel: Wheel[int] = Wheel(clock.now_us())
        self._held: dict[int, WheelTimer[int]] = {}
        self._due: Pump[int] = Pump(clock, wake)
        self._armed: Timer | None = None
        self._armed_us: int | None = None
        self._page: Timer | None = None
        self._page_us: int | None = None
        self._paging = False
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether nothing is due just now."""
        return self._due.idle

    def set(self, run: int, due_us: int | None) -> None:
        """The run's earliest due time is now this one; None when it waits for nothing."""
        held = self._held.get(run)
        if held is not None:
            if held.due_us == due_us:
                return
            held.cancel()
            del self._held[run]
        if due_us is None or self._closed:
            return
        if due_us > self._clock.now_us() + HORIZON_US:
            self._page_by(due_us - HORIZON_US // 2)
            return
        self._held[run] = self._wheel.add(due_us, run)
        if self._armed_us is None or due_us < self._armed_us:
            self._arm()

    def _arm(self) -> None:
        next_us = self._wheel.next_due_us()
        if next_us == self._armed_us and self._armed is not None:
            return
        if self._armed is not None:
            self._armed.cancel()
        self._armed_us = next_us
        self._armed = None if next_us is None else self._clock.call_at(next_us, self._tick)

    def _tick(self) -> None:
        self._armed = self._armed_us = None
        for run in self._wheel.advance(self._clock.now_us()):
            del self._held[run]
            self._due.add(run)
        self._arm()

    def close(self) -> None:
        """Wake nobody any more."""
        for timer in (self._armed, self._page):
            if timer is not None:
                timer.cancel()
        self._armed = self._page = None
        self._closed = True

    # -- the store's part

    def _page_by(self, at_us: int) -> None:
        if self._page_us is not None and self._page_us <= at_us:
            return
        if self._page is not None:
            self._page.cancel()
        self._page_us = at_us
        self._page = self._clock.call_at(at_us, self.page)

    def page(self) -> None:
        """Look into the store for runs that are due within the horizon."""
        if self._page is not None:
            self._page.cancel()
        self._page = self._page_us = None
        if not self._paging:
            self._paging = True
            self._background.spawn(self._read(), "timers")

    async def _read(self) -> None:
        read = self._background.read
        try:
            until_us = self._clock.now_us() + HORIZON_US
            after = (0, 0)
            while rows := await read(partial(self._due_runs, until_us, after, PAGE)):
                for due_us, run in rows:
                    if run not in self._held:
                        self.set(run, due_us)
                due_us, run = after = rows[-1]
            beyond = await read(partial(self._due_runs, 1 << 62, (until_us, 0), 1))
            if beyond:
                self._page_by(beyond[0][0] - HORIZON_US // 2)
        finally:
            self._paging = False
