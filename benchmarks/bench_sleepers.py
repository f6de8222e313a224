"""Sleepers: what a run costs that waits for an hour.

    5,000 sleepers     from the first `engine.start` until the sleep of the last is on stable storage
    kept in memory     what is allocated for a run that waits with its code suspended in memory
    evicted            what is left of it when its code was thrown away, to be rebuilt by replay
    on disk            the store's size for each
    creation           CPU time of the last thousand of 10,000 that are kept in memory, beside that of the first: a cost
                       that grew with the runs that wait would show here

Memory is what Python allocates (`tracemalloc`), after everything has settled; what SQLite takes is its page
cache and does not grow with runs.
"""

import asyncio
import gc
import time
import tracemalloc
from pathlib import Path

from benchmarks.harness import Stopwatch, in_slots, run_alone, store_path, tune_process
from benchmarks.report import Row, at_most, progress, publish
from benchmarks.workloads import sleeper
from durably import Engine

HOUR_S = 3_600
SLEEPERS = 5_000
START_GATE_S = 1.0
KEPT_GATE_KB = 6.0
EVICTED_GATE_KB = 0.5
AT_ONCE = 1_000
PARKED = 10_000
FLAT_GATE = 1.5


async def start_all(path: Path, count: int) -> float:
    """Seconds it takes to send that many runs to sleep: the sleep is in the commit that `start` waits for."""
    async with Engine(f"sqlite:///{path}", workflows=[sleeper]) as engine:
        watch = Stopwatch()
        await in_slots(AT_ONCE, count, lambda: engine.start(sleeper, HOUR_S))
        return watch.seconds


async def creation_us(path: Path, parked: int) -> list[float]:
    """CPU time of each thousand starts while more and more runs wait in memory, in microseconds a run."""
    found: list[float] = []
    async with Engine(f"sqlite:///{path}", workflows=[sleeper], max_parked=parked + AT_ONCE) as engine:
        await in_slots(AT_ONCE, AT_ONCE, lambda: engine.start(sleeper, HOUR_S))  # caches are filled
        for _ in range(parked // AT_ONCE):
            begun_s = time.process_time()
            await in_slots(AT_ONCE, AT_ONCE, lambda: engine.start(sleeper, HOUR_S))
            found.append((time.process_time() - begun_s) * 1e6 / AT_ONCE)
    return found


async def memory_each(path: Path, count: int, max_parked: int) -> float:
    """Kilobytes of Python's memory for each sleeping run."""
    async with Engine(f"sqlite:///{path}", workflows=[sleeper], max_parked=max_parked) as engine:
        await in_slots(AT_ONCE, 2 * AT_ONCE, lambda: engine.start(sleeper, HOUR_S))  # caches are filled
        before = await allocated()
        await in_slots(AT_ONCE, count, lambda: engine.start(sleeper, HOUR_S))
        return (await allocated() - before) / count / 1024


async def allocated() -> int:
    """Bytes that Python has allocated, once what has ended is gone."""
    await asyncio.sleep(0.1)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    return size


def measure_memory(count: int, max_parked: int) -> float:
    tracemalloc.start()
    try:
        with store_path() as path:
            return run_alone(memory_each(path, count, max_parked))
    finally:
        tracemalloc.stop()


def main(*, quick: bool = False) -> None:
    tune_process()
    count = 5_000 if quick else 20_000
    with progress("sleepers", 4) as step, store_path() as path, store_path() as other:
        start_s = run_alone(start_all(path, SLEEPERS))
        disk = path.stat().st_size / SLEEPERS
        step()
        first, *_, last = run_alone(creation_us(other, PARKED))
        step()
        kept_kb = measure_memory(count, max_parked=count + 2 * AT_ONCE)
        step()
        evicted_kb = measure_memory(count, max_parked=0)
        step()
    found = [
        Row(f"start of {SLEEPERS:,} sleepers", start_s, "s", at_most(START_GATE_S)),
        Row("sleeping run, kept in memory", kept_kb, "kB", at_most(KEPT_GATE_KB)),
        Row("sleeping run, evicted", evicted_kb, "kB", at_most(EVICTED_GATE_KB)),
        Row("sleeping run, on disk", disk, "bytes"),
        Row("creation beside 1,000 parked", first, "µs CPU"),
        Row(f"creation beside {PARKED:,} parked", last, "µs CPU"),
        Row("the latter by the former", last / first, "", at_most(FLAT_GATE)),
    ]
    publish("sleepers", "Runs that sleep for an hour", found)


if __name__ == "__main__":
    main()
