"""What every benchmark shares: a progress bar, one table, one JSON file, and the facts of the machine.

A benchmark measures, makes a `Row` of each figure, and publishes them::

    with progress("a million timers", steps=4) as step:
        for part in parts:
            measure(part)
            step()
    publish("timers", "A million timers", [Row("insert", 560, "ns", at_most(1500), beside={"heapq": 290})])
"""

import json
import os
import platform
import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["Gate", "Row", "at_least", "at_most", "machine", "progress", "publish"]

RESULTS = Path(__file__).parent / "results"

_console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Gate:
    """What a figure has to reach; made by `at_most` and `at_least`."""

    kind: Literal["at most", "at least"]
    limit: float

    def met(self, value: float) -> bool:
        return value <= self.limit if self.kind == "at most" else value >= self.limit


def at_most(limit: float) -> Gate:
    """A gate for what should be small: times, bytes, commits."""
    return Gate("at most", limit)


def at_least(limit: float) -> Gate:
    """A gate for what should be large: rates, shares of a floor."""
    return Gate("at least", limit)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: `value` in `unit`, what it has to reach, and the same figure of others, by their names."""

    name: str
    value: float
    unit: str
    gate: Gate | None = None
    beside: Mapping[str, float] = field(default_factory=dict[str, float])


def machine() -> dict[str, str | int]:
    """What a figure depends on and cannot be read off the code."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
    }


@contextmanager
def progress(title: str, steps: int) -> Generator[Callable[[], None], None, None]:
    """Show a progress bar; the function given back moves it on by one of `steps`.

    It is drawn at those calls only: a bar that redraws itself in a thread would run inside what is measured.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task(title, total=steps)
        bar.refresh()

        def step() -> None:
            bar.advance(task)
            bar.refresh()

        yield step


def publish(name: str, title: str, rows: Sequence[Row], note: str = "") -> None:
    """Print the rows as a table and write them to `results/<name>.json`.

    The note is for what a reader has to know beside the figures, such as why one misses its gate.
    """
    facts = machine()
    _console.print(_table(title, rows))
    if note:
        _console.print(note, markup=False)
    _console.print(" · ".join(f"{key} {value}" for key, value in facts.items()), style="dim")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    document = {
        "name": name,
        "title": title,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts,
        "rows": [_plain(row) for row in rows],
        "note": note,
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _console.print(f"written to {os.path.relpath(path)}", style="dim")


def _plain(row: Row) -> dict[str, object]:
    """A row as it goes into the JSON file."""
    plain: dict[str, object] = {"name": row.name, "value": row.value, "unit": row.unit}
    if row.gate is not None:
        plain["gate"] = {row.gate.kind: row.gate.limit}
        plain["met"] = row.gate.met(row.value)
    if row.beside:
        plain["beside"] = dict(row.beside)
    return plain


def _table(title: str, rows: Sequence[Row]) -> Table:
    others = list(dict.fromkeys(other for row in rows for other in row.beside))
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("durably", justify="right", style="bold")
    for other in others:
        table.add_column(other, justify="right")
    table.add_column("unit")
    table.add_column("gate", justify="right")
    table.add_column("")
    for row in rows:
        beside = [_number(row.beside[other]) if other in row.beside else "" for other in others]
        table.add_row(escape(row.name), _number(row.value), *beside, escape(row.unit), *_judged(row))
    return table


def _judged(row: Row) -> tuple[str, str]:
    """The gate of a row, and whether it is met or by how much it is missed."""
    if row.gate is None:
        return "", ""
    gate = f"{row.gate.kind} {_number(row.gate.limit)}"
    if row.gate.met(row.value):
        return gate, "[green]met[/green]"
    by = f" by {abs(row.value / row.gate.limit - 1):.0%}" if row.gate.limit else ""
    return gate, f"[red]missed{by}[/red]"


def _number(value: float) -> str:
    """Three digits, as many as a measurement is good for, or all those before the point."""
    if value == int(value) or abs(value) >= 100:  # noqa: PLR2004 (three digits)
        return f"{value:,.0f}"
    return f"{value:.3g}"
