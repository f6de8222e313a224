"""The last table: every goal, held against the figure that its benchmark has written."""

from collections.abc import Iterator, Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.report import RESULTS

__all__ = ["print_goals"]


class Figure(msgspec.Struct):
    """A row of a benchmark's results. One without a gate is no goal."""

    name: str
    value: float
    unit: str
    gate: dict[str, float] | None = None
    met: bool = False


class Results(msgspec.Struct):
    """A benchmark's file."""

    rows: list[Figure]


def print_goals(benchmarks: Sequence[str]) -> None:
    """Print each goal of these benchmarks: its gate, the figure, met or missed."""
    table = Table(title="Goals", title_justify="left")
    table.add_column("")
    table.add_column("gate", justify="right")
    table.add_column("figure", justify="right")
    table.add_column("unit")
    table.add_column("")
    for name, figure, kind, limit in _goals(benchmarks):
        verdict = "[green]met[/green]" if figure.met else "[red]missed[/red]"
        table.add_row(f"{name}: {figure.name}", f"{kind} {_number(limit)}", _number(figure.value), figure.unit, verdict)
    if table.row_count:
        Console(highlight=False).print(table)


def _goals(benchmarks: Sequence[str]) -> Iterator[tuple[str, Figure, str, float]]:
    for name in benchmarks:
        written = (RESULTS / f"{name}.json").read_bytes()
        for figure in msgspec.json.decode(written, type=Results).rows:
            for kind, limit in (figure.gate or {}).items():
                yield name, figure, kind, limit


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits
