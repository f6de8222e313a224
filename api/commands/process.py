"""A server's process: the engine and its API from start to end, however the end comes."""

import asyncio
import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from enum import Enum
from types import FrameType
from typing import Any, NoReturn, Protocol

from durably import Engine
from durably.api.limits import LIMITS
from durably.api.server import HttpServer, serve
from durably.store.runtime import SECOND_US, SystemClock

__all__ = ["Announcer", "Ending", "Stopping", "end_process", "host", "run_to_end"]

SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter's lock while another wants it. With a writer thread beside the loop
this gave 0.68 of the floor's steps per second, against 0.60 at Python's 5 ms (reference: engine-feasibility,
point 5)."""
GC_THRESHOLDS = (50_000, 20, 50)
"""Collections are rare, and what was made before the start is not looked at. At Python's thresholds they took 10 %
of the time, in pauses of 40 to 60 ms (reference: engine-feasibility, point 3)."""
LAST_ANSWERS_S = 1.0
"""How long requests under way may take once the engine has drained."""
BEYOND_S = 1.7
"""How long the end may take beyond the drain before it is forced."""


SAME_US = SECOND_US // 2
"""Signals that come together are one: `timeout`, make and a terminal send it to the group and to the process."""


class Ending(Enum):
    """Why this process stops serving."""

    ASKED = "asked"
    RELOAD = "reload"
    FAILED = "failed"


class Announcer(Protocol):
    """Who tells people what this process does."""

    def ready(self, server: HttpServer) -> None:
        """Runs go on, and the API answers."""
        ...

    def leaving(self) -> None:
        """No step starts any more."""
        ...

    def failed(self, reason: BaseException) -> None:
        """The engine cannot go on."""
        ...


class Stopping:
    """When and how this process ends.

    The first SIGTERM or SIGINT asks for it, a second one ends the process at once. Python's own handlers do this,
    not the loop's: they work while user code keeps the loop busy. Whatever happens, the end does not take longer
    than the drain and `BEYOND_S`: then `last_resort` is called, because a thread cannot be interrupted, and code may
    refuse to go.
    """

    def __init__(self, drain_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._drain_s = drain_s
        self._clock = SystemClock()
        self._signaled_us: int | None = None
        self.ending: Ending | None = None
        self.asked: asyncio.Future[None] = self._loop.create_future()
        self.last_resort: Callable[[], object] = lambda: end_process(1)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGALRM, self._on_overdue)

    def ask(self, ending: Ending) -> None:
        """Ask for the end. Who was asked to end does not reload."""
        if self.ending is None or ending is not Ending.RELOAD:
            self.ending = ending
        if not self.asked.done():
            self.force_in(self._drain_s + BEYOND_S)
            self.asked.set_result(None)

    def force_in(self, seconds: float) -> None:
        """Call `last_resort` then, if the process is still there."""
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now_us = self._clock.elapsed_us()
        if self._signaled_us is not None:
            if now_us - self._signaled_us > SAME_US:
                os._exit(128 + number)
            return
        self._signaled_us = now_us
        self.force_in(self._drain_s + BEYOND_S)  # here, since the loop may never come to what follows
        self._loop.call_soon_threadsafe(self.ask, Ending.ASKED)

    def _on_overdue(self, _number: int, _frame: FrameType | None) -> None:
        self.last_resort()


async def host(engine: Engine, address: tuple[str, int], stopping: Stopping, announcer: Announcer) -> None:
    """Run the engine and its API until the end is asked for, or the engine fails.

    While the engine drains the API still answers, 503 for what needs the engine; it closes last. Raises what opening
    the store and the address may raise.
    """
    async with AsyncExitStack() as last, engine:
        limits = LIMITS._replace(stop_s=LAST_ANSWERS_S)
        server = await last.enter_async_context(await serve(engine, *address, limits=limits))
        _tune()
        announcer.ready(server)
        failed = engine.core.failed
        waits: list[asyncio.Future[None]] = [stopping.asked, failed]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        reason = failed.exception() if failed.done() else None
        if reason is None:
            announcer.leaving()
        else:
            announcer.failed(reason)
            stopping.ask(Ending.FAILED)
            stopping.force_in(BEYOND_S)  # what runs can no longer be written down: nothing to wait for


def _tune() -> None:
    """Settings of the interpreter that are a server's to make, and not a library's."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def run_to_end(main: Coroutine[Any, Any, Stopping], reload: Callable[[], NoReturn]) -> NoReturn:
    """Run `main`, and end the process, or reload it, as it was asked to.

    An error of `main` is raised: nothing runs then, and Python can end as it always does.
    """
    stopping = asyncio.run(main)
    signal.setitimer(signal.ITIMER_REAL, 0)  # it would outlive a reload
    if stopping.ending is Ending.RELOAD:
        reload()
    end_process(0 if stopping.ending is Ending.ASKED else 1)


def end_process(status: int) -> NoReturn:
    """End the process without waiting for threads: one may never end, and Python would wait for it."""
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage] - the one thing that os._exit leaves out
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # whoever read it has gone
            stream.flush()
    os._exit(status)
