"""`python -m benchmarks [--quick] [NAME …]`: measure, and hold the figures against the goals.

Without a name all benchmarks run, one after another, in a few minutes. Each prints a table and writes its
figures to `benchmarks/results/NAME.json`; the last table holds every goal against what was measured.
"""

import argparse
from collections.abc import Callable
from functools import partial

from benchmarks import (
    bench_dbos,
    bench_ingest,
    bench_latency,
    bench_recovery,
    bench_replay,
    bench_retries,
    bench_sleepers,
    bench_throughput,
    bench_timers,
)
from benchmarks.goals import print_goals


def benchmarks(*, quick: bool) -> dict[str, Callable[[], None]]:
    """All benchmarks by name, in the order in which they run."""
    return {
        "throughput": partial(bench_throughput.main, quick=quick),
        "latency": partial(bench_latency.main, quick=quick),
        "recovery": partial(bench_recovery.main, quick=quick),
        "sleepers": partial(bench_sleepers.main, quick=quick),
        "replay": partial(bench_replay.main, quick=quick),
        "retries": bench_retries.main,
        "ingest": partial(bench_ingest.main, quick=quick),
        "timers": bench_timers.main,
        "dbos": bench_dbos.main,
    }


def main() -> None:
    everything = benchmarks(quick=False)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(everything))
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller numbers")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in everything]:
        parser.error(f"there is no benchmark {unknown[0]!r}; choose from {', '.join(everything)}")
    chosen = arguments.names or list(everything)
    for name in chosen:
        benchmarks(quick=arguments.quick)[name]()
    print_goals(chosen)


if __name__ == "__main__":
    main()
