"""Throughput: durable steps a second, and what one costs in CPU time, beside the floor.

Runs of five sequential steps, 100, 1,000 and 10,000 of them at once: when one ends, the next one starts. Each
step is recorded twice, when it starts and when it has ended; both records are on stable storage (`synchronous
= FULL`) before anything goes on. The floor (`floor.py`) appends the same records. Engine and floor take turns
in one process, each on a new file, and medians of all rounds are compared: a rate on its own says more
about the machine and its neighbours than about an engine.

    share of the floor   the engine's rate divided by the floor's
    CPU beside floor     CPU time of the process for each step, divided by the floor's
    suspending steps     the same with step bodies that suspend once, as those do that wait for something
    slow disk            the same with 1 and 5 ms added to every commit
    loop lag             how much too late a timer of 1 ms fires on the engine's loop meanwhile: what an HTTP
                         server on that loop would add to its answers
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.floor import Appender, append_run
from benchmarks.harness import (
    Sample,
    Stopwatch,
    in_slots,
    medians,
    percentile,
    run_alone,
    store_path,
    tune_process,
)
from benchmarks.report import Gate, Row, at_least, at_most, progress, publish
from benchmarks.workloads import sequence, suspending_sequence
from durably import Engine, Workflow
from durably.store import Operation, SqliteStore, Store
from durably.store.protocol import Done

STEPS = 5
AT_ONCE = (100, 1_000, 10_000)
RUNS = 2_000
"""Of one round, or as many as are at once if that is more."""
LAG_RUNS = 8_000
"""More of them, so that there are some hundred lags to judge by."""
LAG_PROBE_S = 0.001


class SlowDisk(SqliteStore):
    """Every commit takes longer."""

    def __init__(self, path: Path, delay_s: float) -> None:
        super().__init__(path)
        self._delay_s = delay_s

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        if self._worker is not None:
            self._worker.submit(lambda: time.sleep(self._delay_s))  # on the thread that commits next
        super().submit(batch, done)


class SlowDiskEngine(Engine):
    """An engine on a disk whose commits take `delay_s` longer."""

    def __init__(self, path: Path, workflow: Workflow[..., Any], delay_s: float) -> None:
        super().__init__(f"sqlite:///{path}", workflows=[workflow])
        self._path = path
        self._delay_s = delay_s

    def _open_store(self) -> Store:
        return SlowDisk(self._path, self._delay_s) if self._delay_s else super()._open_store()


class Case(NamedTuple):
    """One thing to measure."""

    at_once: int
    workflow: Workflow[[int], int] = sequence
    delay_s: float = 0


async def floor_round(path: Path, case: Case) -> Sample:
    runs = max(RUNS, case.at_once)
    async with Appender(path, delay_s=case.delay_s) as appender:
        watch = Stopwatch()
        await in_slots(case.at_once, runs, lambda: append_run(appender, STEPS))
        return watch.sample(runs * STEPS)


async def engine_round(path: Path, case: Case, lags: list[float] | None = None) -> Sample:
    runs = max(RUNS, case.at_once) if lags is None else LAG_RUNS
    async with SlowDiskEngine(path, case.workflow, case.delay_s) as engine:

        async def run() -> None:
            await (await engine.start(case.workflow, STEPS)).result()

        probe = asyncio.create_task(probe_lag(lags)) if lags is not None else None
        watch = Stopwatch()
        await in_slots(case.at_once, runs, run)
        sample = watch.sample(runs * STEPS)
        if probe is not None:
            probe.cancel()
        return sample


async def probe_lag(lags: list[float]) -> None:
    while True:
        begun_s = time.perf_counter()
        await asyncio.sleep(LAG_PROBE_S)
        lags.append(time.perf_counter() - begun_s - LAG_PROBE_S)


class Figures(NamedTuple):
    """The medians of a case."""

    engine: Sample
    floor: Sample

    @property
    def share(self) -> float:
        return self.engine.per_s / self.floor.per_s

    @property
    def cpu_ratio(self) -> float:
        return self.engine.cpu_us / self.floor.cpu_us


def measure(case: Case, rounds: int, step: Callable[[], None]) -> Figures:
    """Let engine and floor take turns."""
    engine: list[Sample] = []
    floor: list[Sample] = []
    for _ in range(rounds):
        with store_path() as path:
            floor.append(run_alone(floor_round(path, case)))
        with store_path() as path:
            engine.append(run_alone(engine_round(path, case)))
        step()
    return Figures(medians(engine), medians(floor))


def measure_lag() -> list[float]:
    """The lags of the engine's loop while 1,000 runs are at work, in milliseconds."""
    lags: list[float] = []
    with store_path() as path:
        run_alone(engine_round(path, Case(1_000), lags))
    return [lag_s * 1000 for lag_s in lags]


def rows(figures: dict[int, Figures], others: dict[str, Figures], lags_ms: list[float]) -> list[Row]:
    thousand = figures[1_000]
    found: list[Row] = []
    for at_once, each in figures.items():
        gate = at_least(25_000) if each is thousand else None
        found.append(rate(f"{at_once:,} runs at once", each, gate))
        found.append(
            Row(
                f"  CPU, {at_once:,} at once",
                each.engine.cpu_us,
                "µs/step",
                None,
                {"floor": each.floor.cpu_us},
            )
        )
    found += [
        Row("share of the floor, 1,000 at once", thousand.share, "", at_least(0.40)),
        Row("CPU beside the floor, 1,000 at once", thousand.cpu_ratio, "", at_most(2.5)),
    ]
    found += [
        Row(
            f"{at_once:,} at once beside 1,000",
            figures[at_once].engine.per_s / thousand.engine.per_s,
            "",
            at_least(0.7),
        )
        for at_once in (100, 10_000)
    ]
    found += [rate(name, each, None) for name, each in others.items()]
    found += [
        Row("loop lag p99, 1,000 at once", percentile(lags_ms, 0.99), "ms", at_most(20)),
        Row("loop lag max, 1,000 at once", max(lags_ms), "ms", at_most(50)),
    ]
    return found


def rate(name: str, figures: Figures, gate: Gate | None) -> Row:
    beside = {"floor": figures.floor.per_s, "share": figures.share}
    return Row(name, figures.engine.per_s, "steps/s", gate, beside)


def main(*, quick: bool = False) -> None:
    tune_process()
    rounds, few = (2, 1) if quick else (5, 2)
    others = {
        "suspending steps, 1,000 at once": Case(1_000, suspending_sequence),
        "1 ms slower disk, 1,000 at once": Case(1_000, delay_s=0.001),
        "5 ms slower disk, 1,000 at once": Case(1_000, delay_s=0.005),
    }
    with progress("throughput", rounds * len(AT_ONCE) + few * len(others) + 1) as step:
        figures = {at_once: measure(Case(at_once), rounds, step) for at_once in AT_ONCE}
        beside = {name: measure(case, few, step) for name, case in others.items()}
        lags_ms = measure_lag()
        step()
    publish("throughput", f"Throughput, runs of {STEPS} steps", rows(figures, beside, lags_ms))


if __name__ == "__main__":
    main()
