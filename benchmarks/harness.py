"""What benchmarks of the engine share: a process like a server's, a store on disk, ways to take figures."""

import asyncio
import gc
import math
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

from benchmarks.report import RESULTS

__all__ = [
    "Sample",
    "Stopwatch",
    "in_slots",
    "medians",
    "percentile",
    "run_alone",
    "store_path",
    "tune_process",
]

T = TypeVar("T")

GC_THRESHOLDS = (50_000, 20, 100)
SWITCH_INTERVAL_S = 0.0005


def tune_process() -> None:
    """Set this process up as a server's: fewer collections, and threads that hand over sooner.

    For what is measured and for its floor alike. At Python's own 5 ms the thread that commits would wait that
    long for the interpreter whenever the loop is busy.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)


@contextmanager
def store_path() -> Generator[Path, None, None]:
    """The path of a new store, on the disk that the project is on: /tmp may be memory."""
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="store-", dir=RESULTS) as folder:
        yield Path(folder) / "runs.db"


def run_alone(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on an event loop of its own, and leave no garbage of it to what is measured next."""
    try:
        return asyncio.run(main)
    finally:
        gc.collect()


async def in_slots(slots: int, runs: int, run: Callable[[], Awaitable[object]]) -> None:
    """Do `run` that many times, so many of them at once: when one ends, the next one starts."""
    left = iter(range(runs))

    async def slot() -> None:
        for _ in left:
            await run()

    await asyncio.gather(*(slot() for _ in range(slots)))


class Sample(NamedTuple):
    """What one round came to."""

    per_s: float
    cpu_us: float
    """CPU time of the whole process for each."""


class Stopwatch:
    """Wall-clock and CPU time since it was made."""

    def __init__(self) -> None:
        self._begun_s = time.perf_counter()
        self._cpu_s = time.process_time()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begun_s

    def sample(self, count: int) -> Sample:
        """The rate and the CPU time of `count` things that were done."""
        return Sample(count / self.seconds, (time.process_time() - self._cpu_s) / count * 1e6)


def medians(samples: Sequence[Sample]) -> Sample:
    """The medians of several rounds, which a noisy neighbour moves less than means."""
    return Sample(median(each.per_s for each in samples), median(each.cpu_us for each in samples))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least that share of them does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
