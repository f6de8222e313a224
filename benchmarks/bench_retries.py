"""Retries: how much later than due an attempt starts when a thousand runs retry at once.

Each run has one step that fails twice, waits half a second each time, and then succeeds. The lateness is read
off the histories: from `retry_at` of an `attempt.failed` to the time of the `attempt.started` that follows,
in milliseconds. The bodies run after that record's commit. `total` is the time until the last run has ended;
one second of it is the waits.
"""

import asyncio
from datetime import datetime
from pathlib import Path

from benchmarks.harness import Stopwatch, percentile, run_alone, store_path, tune_process
from benchmarks.report import Row, progress, publish
from benchmarks.workloads import flaky
from durably import Engine, History

RUNS = 1_000


async def measure(path: Path) -> tuple[list[float], float]:
    """Milliseconds of lateness of each retry, and seconds in all."""
    async with Engine(f"sqlite:///{path}", workflows=[flaky]) as engine:
        watch = Stopwatch()
        runs = await asyncio.gather(*(engine.start(flaky) for _ in range(RUNS)))
        await asyncio.gather(*(run.result() for run in runs))
        total_s = watch.seconds
        return [late for run in runs for late in lateness_ms(await run.history())], total_s


def lateness_ms(history: History) -> list[float]:
    failed = [record for record in history if record.type == "attempt.failed"]
    again = [record for record in history if record.type == "attempt.started" and record.attempt]
    return [
        (start.at - datetime.fromisoformat(failure.retry_at)).total_seconds() * 1000
        for failure, start in zip(failed, again, strict=True)
    ]


def main(*, quick: bool = False) -> None:  # noqa: ARG001 - it is quick
    tune_process()
    with progress("retries", 1) as step, store_path() as path:
        late_ms, total_s = run_alone(measure(path))
        step()
    found = [
        Row("lateness p50", percentile(late_ms, 0.5), "ms"),
        Row("lateness p99", percentile(late_ms, 0.99), "ms"),
        Row("lateness max", max(late_ms), "ms"),
        Row("started early", sum(late < 0 for late in late_ms), "retries"),
        Row(f"{RUNS:,} runs of three attempts, total", total_s, "s"),
    ]
    publish("retries", "Lateness of retries", found)


if __name__ == "__main__":
    main()
