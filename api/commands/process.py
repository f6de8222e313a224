"""A server's process: the engine and its API from start to end, however the end comes."""

import asyncio
import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from enum import Enum
from types import FrameType
from typing import Any, NoReturn

from durably import Engine
from durably.api.limits import LIMITS
from durably.api.server import HttpServer, serve

__all__ = ["Ending", "EngineFailed", "Stopping", "end_process", "host"]

SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter's lock while another wants it. With a writer thread beside the loop this
gave 0.68 of the floor's steps per second, against 0.60 at Python's 5 ms (reference: engine-feasibility, point 5)."""
GC_THRESHOLDS = (50_000, 20, 50)
"""Collections are rare, and what was made before the start is never looked at: at Python's thresholds they took 10 % of
the time, in pauses of 40 to 60 ms; with these the worst lag fell from 64 to 17 ms (engine-feasibility, point 3)."""
LAST_ANSWERS_S = 1.0
"""How long requests under way may take once the engine has drained."""
BEYOND_S = 1.7
"""How long the end may take beyond the drain before it is forced."""


class Ending(Enum):
    """What this process does when it has stopped serving."""

    EXIT = "exit"
    RELOAD = "reload"


class EngineFailed(Exception):  # noqa: N818 - it says what happened
    """The engine cannot go on: its store is damaged, or another engine has it."""


class Stopping:
    """When and how this process ends.

    The first SIGTERM or SIGINT asks for it, a second one ends the process at once. Python's own handlers do this, not
    the loop's: they work while user code keeps the loop busy. Whatever happens, the end does not take longer than the
    drain and `BEYOND_S`: a timer then ends the process, for a thread cannot be interrupted, and code may refuse to go.
    """

    def __init__(self, drain_s: float, say: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._drain_s = drain_s
        self._say = say
        self._signaled = False
        self.asked: asyncio.Future[Ending] = self._loop.create_future()
        self.status = 1
        """The exit status if the end has to be forced: 0 once everything is stored and closed."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGALRM, self._on_overdue)

    def ask(self, ending: Ending) -> None:
        """Ask for the end."""
        if not self.asked.done():
            self.force_in(self._drain_s + BEYOND_S)
            self.asked.set_result(ending)

    def force_in(self, seconds: float) -> None:
        """End the process then, if it is still there."""
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._signaled:
            os._exit(128 + number)
        self._signaled = True
        self.force_in(self._drain_s + BEYOND_S)
        self._loop.call_soon_threadsafe(self.ask, Ending.EXIT)

    def _on_overdue(self, _number: int, _frame: FrameType | None) -> None:
        if self.status:
            self._say(
                "It did not come to an end in time. Steps that were running start again with the next engine."
            )
        end_process(self.status)


async def host(
    engine: Engine, address: tuple[str, int], stopping: Stopping, ready: Callable[[HttpServer], None]
) -> Ending:
    """Run the engine and its API until the end is asked for. `ready` is told when both can be used.

    While the engine drains the API answers, 503 for what needs the engine, and it closes last. Raises `EngineFailed`,
    and what opening the store and the address may raise.
    """
    async with AsyncExitStack() as last, engine:
        limits = LIMITS._replace(stop_s=LAST_ANSWERS_S)
        server = await last.enter_async_context(await serve(engine, *address, limits=limits))
        _tune()
        ready(server)
        failed = engine.core.failed
        await asyncio.wait([stopping.asked, failed], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            # What runs can no longer be written down: there is nothing to wait for.
            stopping.force_in(BEYOND_S)
            raise EngineFailed(str(failed.exception())) from failed.exception()
    return stopping.asked.result()


def _tune() -> None:
    """Settings of the interpreter that are a server's to make, and not a library's."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def run(main: Coroutine[Any, Any, Ending]) -> Ending:
    """`asyncio.run`, on a loop that a reload can leave behind."""
    ending = asyncio.run(main)
    signal.setitimer(signal.ITIMER_REAL, 0)  # it would outlive the reload
    return ending


def end_process(status: int) -> NoReturn:
    """End the process without waiting for threads: one that runs a step may never end, and Python would wait for it."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
