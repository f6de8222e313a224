"""How much one activation may use: callbacks and CPU time, for what never waits holds up every other run.

Callbacks are counted, so that a loop around `asyncio.sleep(0)` ends at the same place in every process. CPU time is
that of the thread, not of the clock on the wall: a busy machine is not the workflow's fault. Replay is not metered.
"""

from collections.abc import Callable

from durably.engine.errors import NonRetriableError
from durably.store.runtime import SECOND_US

__all__ = ["MAX_CALLBACKS", "CpuBudget", "OutOfTime", "Spin"]

MAX_CALLBACKS = 100_000
"""What one activation may run: 0.1 to 0.2 s of CPU for callbacks that do nothing."""

LOOK_EVERY = 32
"""Callbacks between two looks at the clock. Most activations are shorter, and cost nothing."""


class Spin(NonRetriableError):  # noqa: N818 - says what the workflow does
    """A workflow ran on and on without waiting for a step, a timer or an event."""


class OutOfTime(Spin):
    """A workflow used too much CPU time without waiting for a step, a timer or an event.

    Another machine would have let it go on: a replay takes this end from the history.
    """


class CpuBudget:
    """The CPU time of one activation at a time: one meter serves all runs of a thread.

    Between callbacks is where it can be looked at, and where an activation can be ended. One callback that takes
    long, such as a loop without `await`, is what the watchdog of the engine names.

    Args:
        clock_us: CPU time of the calling thread.
        most: seconds of CPU time after which an activation that would go on raises `OutOfTime`. After a tenth of it
            `warned` tells where the activation is.
    """

    __slots__ = ("_began_us", "_clock_us", "_most_us", "_warn_us", "next_look", "warned")

    def __init__(self, clock_us: Callable[[], int], most: float = 10) -> None:
        self._clock_us = clock_us
        self._most_us = round(most * SECOND_US)
        self._warn_us = self._most_us // 10
        self.next_look = LOOK_EVERY
        """The number of callbacks after which the clock is looked at."""
        self._began_us: int | None = None
        self.warned: str | None = None
        """Where the activation was when it had used a tenth of its budget, in words."""

    def begin(self) -> None:
        """An activation begins. The clock runs from its first look, after 32 callbacks."""
        self.next_look = LOOK_EVERY
        self._began_us = None
        self.warned = None

    def look(self, callbacks: int, where: Callable[[], str]) -> None:
        """Look at the clock, after so many callbacks. `where` tells by which asyncio task. May raise `OutOfTime`."""
        self.next_look = callbacks + LOOK_EVERY
        now_us = self._clock_us()
        if self._began_us is None:
            self._began_us = now_us
        used_us = now_us - self._began_us
        if used_us > self._most_us:
            raise OutOfTime(
                f"the workflow used {used_us / SECOND_US:.1f} s of CPU time without waiting for a step, a timer or an "
                f"event, the last in {where()}. Put the computing into a step: a sync one runs in a thread"
            )
        if used_us > self._warn_us and self.warned is None:
            self.warned = f"{used_us / SECOND_US:.1f} s of CPU time, the last in {where()}"
