"""Replay: how fast a history of a thousand sequential steps is turned back into the code's state.

Each of its 2,003 records is decoded, taken into the run's state, checked against what the code does, and the
code itself runs: that is what a waiting run costs when it is woken, and a crashed one when it is recovered.
Beside it the decoding alone. CPU time, the best of several.
"""

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import run_alone, store_path, tune_process
from benchmarks.report import Row, at_most, progress, publish
from benchmarks.workloads import sequence
from durably import Engine, History
from durably.replay import Replayer

STEPS = 1_000
GATE_US = 10.0


async def make_history(path: Path) -> History:
    async with Engine(f"sqlite:///{path}", workflows=[sequence]) as engine:
        run = await engine.start(sequence, STEPS)
        await run.result()
        return await run.history()


def best_us(work: Callable[[], object], times: int) -> float:
    """CPU time of the fastest of `times`."""

    def once() -> float:
        begun_s = time.process_time()
        work()
        return (time.process_time() - begun_s) * 1e6

    return min(once() for _ in range(times))


def main(*, quick: bool = False) -> None:
    tune_process()
    times = 5 if quick else 20
    with progress("replay", 3) as step, store_path() as path:
        history = run_alone(make_history(path))
        step()
        replayer = Replayer(workflows=[sequence])
        replay_us = best_us(lambda: replayer.replay(history), times) / len(history)
        step()
        decode_us = best_us(history.entries, times) / len(history)
        step()
    found = [
        Row("replay, code included", replay_us, "µs/record", at_most(GATE_US), {"decoding alone": decode_us}),
        Row("", 1e6 / replay_us, "records/s", None, {"decoding alone": 1e6 / decode_us}),
    ]
    publish("replay", f"Replay of {len(history):,} records", found)


if __name__ == "__main__":
    main()
