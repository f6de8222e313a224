"""Latency: how long a run of one step and a run of ten take when nothing else is going on, beside the floor.

From the call of `engine.start` until `result()` returns, one run at a time. A run of n sequential steps waits
for n + 1 commits, one after another; the floor waits for the same commits of the same records. Engine and
floor take turns, run by run.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.floor import Appender, append_run
from benchmarks.harness import percentile, run_alone, store_path, tune_process
from benchmarks.report import Gate, Row, at_most, progress, publish
from benchmarks.workloads import sequence
from durably import Engine

GATES_MS = {1: 1.0, 10: 5.0}
"""At the median, by the number of steps."""
WARM_UP = 20


async def measure(engine_path: Path, floor_path: Path, steps: int, runs: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each run, in the engine and on the floor."""
    engine_ms: list[float] = []
    floor_ms: list[float] = []
    async with AsyncExitStack() as exits:
        engine = await exits.enter_async_context(Engine(f"sqlite:///{engine_path}", workflows=[sequence]))
        appender = await exits.enter_async_context(Appender(floor_path))

        async def run() -> None:
            await (await engine.start(sequence, steps)).result()

        for _ in range(runs + WARM_UP):
            engine_ms.append(await timed_ms(run))
            floor_ms.append(await timed_ms(lambda: append_run(appender, steps)))
    return engine_ms[WARM_UP:], floor_ms[WARM_UP:]


async def timed_ms(run: Callable[[], Awaitable[object]]) -> float:
    begun_s = time.perf_counter()
    await run()
    return (time.perf_counter() - begun_s) * 1000


def rows(steps: int, engine_ms: list[float], floor_ms: list[float]) -> list[Row]:
    title = f"{steps} step{'s' if steps > 1 else ''}"

    def row(name: str, share: float, gate: Gate | None) -> Row:
        return Row(
            f"{title}, {name}",
            percentile(engine_ms, share),
            "ms",
            gate,
            {"floor": percentile(floor_ms, share)},
        )

    return [row("p50", 0.5, at_most(GATES_MS[steps])), row("p99", 0.99, None)]


def main(*, quick: bool = False) -> None:
    tune_process()
    found: list[Row] = []
    with progress("latency", len(GATES_MS)) as step:
        for steps in GATES_MS:
            with store_path() as engine_path, store_path() as floor_path:
                found += rows(steps, *run_alone(measure(engine_path, floor_path, steps, 100 if quick else 400)))
            step()
    publish("latency", "Latency, one run at a time", found)


if __name__ == "__main__":
    main()
