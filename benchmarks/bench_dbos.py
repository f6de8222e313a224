"""DBOS Transact, the closest peer, on SQLite and on the same workload, if it is installed.

Runs of five steps, 100 in flight; runs of one and of ten steps, one at a time. DBOS runs with its defaults,
in a process of its own; the processes take turns on the same disk. It keeps a step's result, but neither its
start nor its attempts, and its rollback journal takes four fsyncs for a commit.
"""

import asyncio
import importlib
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.bench_throughput import Case, engine_round
from benchmarks.harness import Stopwatch, in_slots, percentile, run_alone, store_path, tune_process
from benchmarks.report import Row, progress, publish
from benchmarks.workloads import sequence
from durably import Engine

STEPS = 5
AT_ONCE = 100
RUNS = 200
ALONE = 40


async def dbos_rate(start: Any) -> float:
    async def run() -> None:
        await (await start(STEPS)).get_result()

    watch = Stopwatch()
    await in_slots(AT_ONCE, RUNS, run)
    return watch.sample(RUNS * STEPS).per_s


async def alone_ms(run: Any, steps: int) -> float:
    """The median time of a run when nothing else is going on."""
    taken_s: list[float] = []
    for _ in range(ALONE):
        begun_s = time.perf_counter()
        await run(steps)
        taken_s.append(time.perf_counter() - begun_s)
    return percentile(taken_s, 0.5) * 1000


async def measure_dbos(path: Path) -> dict[str, float]:
    """In the process of its own: DBOS is a singleton, and its threads stay."""
    dbos: Any = importlib.import_module("dbos").DBOS

    @dbos.step()  # type: ignore[untyped-decorator]  # not installed where types are checked
    async def increment(number: int) -> int:
        return number + 1

    @dbos.workflow()  # type: ignore[untyped-decorator]  # likewise
    async def sequence(steps: int) -> int:
        number = 0
        for _ in range(steps):
            number = await increment(number)
        return number

    async def start(steps: int) -> Any:
        return await dbos.start_workflow_async(sequence, steps)

    async def run(steps: int) -> None:
        await (await start(steps)).get_result()

    dbos(config={"name": "benchmark", "system_database_url": f"sqlite:///{path}", "log_level": "ERROR"})
    dbos.launch()
    await run(1)
    one_ms, ten_ms = await alone_ms(run, 1), await alone_ms(run, 10)
    found = {"steps_per_s": await dbos_rate(start), "one_ms": one_ms, "ten_ms": ten_ms}
    dbos.destroy()
    return found


async def measure_durably(path: Path) -> tuple[float, float]:
    async with Engine(f"sqlite:///{path}", workflows=[sequence]) as engine:

        async def run(steps: int) -> None:
            await (await engine.start(sequence, steps)).result()

        await run(1)
        return await alone_ms(run, 1), await alone_ms(run, 10)


def main(*, quick: bool = False) -> None:  # noqa: ARG001 - it is quick
    if importlib.util.find_spec("dbos") is None:
        publish("dbos", "DBOS on the same workload", [], "skipped: dbos is not installed (pip install dbos)")
        return
    tune_process()
    with progress("DBOS", 3) as step:
        with store_path() as path:
            command = [sys.executable, "-m", "benchmarks.bench_dbos", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
        step()
        if done.returncode:
            reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
            publish("dbos", "DBOS on the same workload", [], f"skipped: DBOS failed here: {reason}")
            return
        dbos = json.loads(done.stdout.splitlines()[-1])
        with store_path() as path:
            rate = run_alone(engine_round(path, Case(AT_ONCE))).per_s
        step()
        with store_path() as path:
            one_ms, ten_ms = run_alone(measure_durably(path))
        step()
    found = [
        Row(f"{AT_ONCE} runs of {STEPS} steps at once", rate, "steps/s", None, {"dbos": dbos["steps_per_s"]}),
        Row("1 step, p50", one_ms, "ms", None, {"dbos": dbos["one_ms"]}),
        Row("10 steps, p50", ten_ms, "ms", None, {"dbos": dbos["ten_ms"]}),
    ]
    publish("dbos", "DBOS on the same workload", found)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(asyncio.run(measure_dbos(Path(sys.argv[1])))), flush=True)
    else:
        main()
