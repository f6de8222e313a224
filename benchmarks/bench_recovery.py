"""Recovery: how soon runs are at work again after `kill -9`.

A process of its own starts the runs, waits until each has a finished step behind it and is in the middle of
the next, and is killed. Then, on the same file, from opening the engine:

    first body   until the first of the steps that were lost runs again
    all bodies   until all of them do

Each run's log is read and replayed for that; what was running is written down as lost, and starts again under
the same attempt number once that is on stable storage.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from benchmarks.harness import Stopwatch, in_slots, run_alone, store_path, tune_process
from benchmarks.report import Row, at_most, progress, publish
from durably import Engine, step, workflow

GATES_S = {500: 0.2, 50_000: 8.0}
"""Until all bodies run, by the number of runs in flight."""
FIRST_GATE_S = 0.5
READY = b"in flight\n"
AT_ONCE = 1_000


class Bodies:
    """Counts the bodies that have begun in this process."""

    def __init__(self) -> None:
        self.begun = 0
        self._reached: dict[int, asyncio.Event] = {}

    async def reach(self, count: int) -> None:
        """Wait until so many have begun."""
        if self.begun < count:
            await self._reached.setdefault(count, asyncio.Event()).wait()

    def begin(self) -> None:
        self.begun += 1
        if self.begun in self._reached:
            self._reached[self.begun].set()


bodies = Bodies()


@step
async def finished_before(number: int) -> int:
    return number


@step
async def in_flight(number: int) -> int:
    bodies.begin()
    await asyncio.Event().wait()  # until the process is killed, or the engine stops
    return number


@workflow
async def two_steps(number: int) -> int:
    return await in_flight(await finished_before(number))


def engine_for(path: Path, runs: int) -> Engine:
    """An engine that holds all the runs at once."""
    return Engine(f"sqlite:///{path}", workflows=[two_steps], max_steps=runs + 1, max_parked=runs, drain_timeout=0)


async def be_victim(path: Path, runs: int) -> None:
    """Bring the runs in flight, say so, and wait to be killed."""
    async with engine_for(path, runs) as engine:
        await in_slots(AT_ONCE, runs, lambda: engine.start(two_steps, 1))
        await bodies.reach(runs)
        sys.stdout.buffer.write(READY)
        sys.stdout.flush()
        await asyncio.Event().wait()


async def kill_in_flight(path: Path, runs: int) -> None:
    """Leave a store behind as a process does that is killed in the middle of that many runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bench_recovery", str(path), str(runs), stdout=PIPE
    )
    assert process.stdout is not None
    while (line := await process.stdout.readline()) != READY:  # it may log other lines
        if not line:
            raise RuntimeError("the process to be killed has ended before it was ready; see its errors above")
    process.kill()
    await process.wait()


async def recover(path: Path, runs: int) -> tuple[float, float]:
    """Seconds until the first body runs, and until all do."""
    before = bodies.begun
    watch = Stopwatch()
    async with engine_for(path, runs):
        await bodies.reach(before + 1)
        first_s = watch.seconds
        await bodies.reach(before + runs)
        return first_s, watch.seconds


def rows(runs: int, first_s: float, all_s: float) -> list[Row]:
    return [
        Row(f"{runs:,} runs, all bodies", all_s, "s", at_most(GATES_S[runs]) if runs in GATES_S else None),
        Row(f"{runs:,} runs, first body", first_s, "s", at_most(FIRST_GATE_S)),
        Row(f"{runs:,} runs, each", all_s / runs * 1e6, "µs"),
    ]


def main(*, quick: bool = False) -> None:
    tune_process()
    found: list[Row] = []
    sizes = [500, 5_000] if quick else list(GATES_S)
    with progress("recovery", 2 * len(sizes)) as step_done:
        for runs in sizes:
            with store_path() as path:
                run_alone(kill_in_flight(path, runs))
                step_done()
                found += rows(runs, *run_alone(recover(path, runs)))
                step_done()
    publish("recovery", "Recovery after kill -9", found)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(be_victim(Path(sys.argv[1]), int(sys.argv[2])))
    else:
        main()
