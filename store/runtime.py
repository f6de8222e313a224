"""The one module that reaches for time, randomness and threads (DESIGN rule 17).

Everything else is handed a `Clock`, a `Randomness` and a `Worker`, so that the whole engine also runs in a seeded
simulation with virtual time. It lives in the lowest layer because all layers need it.
"""

import asyncio
import os
import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

__all__ = [
    "SECOND_US",
    "Clock",
    "Heartbeat",
    "Randomness",
    "SystemClock",
    "SystemRandomness",
    "Timer",
    "WallTimer",
    "Worker",
    "current_thread_id",
    "seeded",
]

SECOND_US = 1_000_000
"""Microseconds in a second: engine time is an integer of microseconds since the Unix epoch."""

WALL_LOOK_US = 10 * SECOND_US
"""How long a wait for the wall clock does without a look at it."""


class Timer(Protocol):
    """What `Clock.call_at` gives back."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Engine time in microseconds since the Unix epoch, and one way to wait for it."""

    def now_us(self) -> int:
        """Engine time: never stepped and never going back while the process runs (DESIGN rule 11)."""
        ...

    def wall_us(self) -> int:
        """The wall clock as it is now. Only cron reads it."""
        ...

    def elapsed_us(self) -> int:
        """Real time that passes while the process computes, for slices and budgets; its zero means nothing."""
        ...

    def cpu_us(self) -> int:
        """CPU time that the calling thread has used: what others do meanwhile is not in it. A look costs 0.6 µs."""
        ...

    def call_at(self, due_us: int, callback: Callable[[], None]) -> Timer:
        """Call `callback` on the running loop once engine time has reached `due_us`, never earlier."""
        ...

    def call_at_wall(self, due_us: int, callback: Callable[[], None]) -> Timer:
        """Call `callback` once the wall clock has reached `due_us`, to whatever it is set meanwhile."""
        ...


class SystemClock:
    """The wall clock at start plus the time elapsed since, suspend included."""

    __slots__ = ("_offset_us",)

    def __init__(self) -> None:
        self._offset_us = self.wall_us() - self.elapsed_us()

    def elapsed_us(self) -> int:
        return _elapsed_ns() // 1000

    def cpu_us(self) -> int:
        return time.thread_time_ns() // 1000

    def now_us(self) -> int:
        return self._offset_us + _elapsed_ns() // 1000

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def call_at(self, due_us: int, callback: Callable[[], None]) -> Timer:
        # A loop's own timer can be early by its resolution: callers look at now_us() again when called.
        delay_s = max(0, due_us - self.now_us()) / SECOND_US
        return asyncio.get_running_loop().call_later(delay_s, callback)

    def call_at_wall(self, due_us: int, callback: Callable[[], None]) -> Timer:
        return WallTimer(self, due_us, callback)


class WallTimer:
    """Looks at the wall clock again and again: it may be set, and a loop's timers stand still during suspend."""

    __slots__ = ("_callback", "_clock", "_due_us", "_next_look")

    def __init__(self, clock: Clock, due_us: int, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._due_us = due_us
        self._callback = callback
        self._wait()

    def _wait(self) -> None:
        wait_us = min(self._due_us - self._clock.wall_us(), WALL_LOOK_US)
        self._next_look = self._clock.call_at(self._clock.now_us() + wait_us, self._look)

    def _look(self) -> None:
        if self._clock.wall_us() < self._due_us:
            self._wait()
        else:
            self._callback()

    def cancel(self) -> None:
        self._next_look.cancel()


if hasattr(time, "CLOCK_BOOTTIME"):  # counts suspend; Linux only

    def _elapsed_ns() -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

else:
    _elapsed_ns = time.monotonic_ns


class Randomness(Protocol):
    """Where ids and jitter come from."""

    def token(self) -> str:
        """A new id: 32 hexadecimal digits, 128 bits."""
        ...

    def uniform(self, most: float) -> float:
        """A number from 0 up to `most`."""
        ...


TOKEN_BYTES = 16
TOKENS_PER_PAGE = 256


class SystemRandomness:
    """The operating system's randomness.

    Ids are cut from a page of it: each call of `os.urandom` lets go of the interpreter, and a thread that commits
    takes it for a while. An engine's threads do not survive a fork, so no child process goes on with the same page.
    """

    __slots__ = ("_next", "_page", "_random")

    def __init__(self) -> None:
        self._random = random.SystemRandom()
        self._page = b""
        self._next = 0

    def token(self) -> str:
        start = self._next
        if start >= len(self._page):
            self._page = os.urandom(TOKEN_BYTES * TOKENS_PER_PAGE)
            start = 0
        self._next = start + TOKEN_BYTES
        return self._page[start : start + TOKEN_BYTES].hex()

    def uniform(self, most: float) -> float:
        return self._random.uniform(0, most)


class Worker:
    """One named daemon thread that runs the jobs it is given, in order, until `stop`."""

    __slots__ = ("_jobs", "_thread")

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def submit(self, job: Callable[[], None]) -> None:
        """Run `job` after those submitted before it. A job reports its own outcome and must not raise."""
        self._jobs.put(job)

    def stop(self) -> None:
        """Let the thread end after the jobs submitted so far. Returns at once."""
        self._jobs.put(None)


def seeded(seed: int) -> random.Random:
    """Randomness that repeats itself: the same numbers for the same seed, in any process."""
    return random.Random(seed)  # noqa: S311 - repeatable on purpose, never a secret


class Heartbeat:
    """A daemon thread that calls `beat` every `seconds` until it is stopped."""

    __slots__ = ("_beat", "_seconds", "_stopped")

    def __init__(self, name: str, seconds: float, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._seconds = seconds
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            self._beat()

    def stop(self) -> None:
        """Call no more. Returns at once."""
        self._stopped.set()


def current_thread_id() -> int:
    """The calling thread, as `sys._current_frames` names it."""
    return threading.get_ident()
