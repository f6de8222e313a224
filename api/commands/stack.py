"""Where a run is parked, drawn for a terminal: its asyncio tasks as a tree, with lines, locals and waits."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from rich.text import Text

from durably.api.console import clean, clock_time, how_long, local_time
from durably.engine.body.parked import Awaited, Line, ParkedTask

__all__ = ["draw_stack"]

DAY_S = 86_400
MOST_TASKS = 5
Locals = Mapping[tuple[str, int], Sequence[tuple[str, str]]]
"""By a task's path and the number of its line, from the outermost one on."""


def draw_stack(tasks: Sequence[ParkedTask], now: datetime, variables: Locals | None = None) -> Iterator[Text]:
    """A block of lines for each asyncio task, indented by its place in the tree."""
    for task in tasks:
        indent = "  " * (1 + task.path.count("/"))
        yield Text.assemble(indent, ("asyncio task ", "dim"), (task.path, "bold cyan"))
        for number, line in enumerate(task.stack):
            yield from _line(line, indent + "  ")
            for name, value in (variables or {}).get((task.path, number), ()):
                yield Text.assemble(f"{indent}      ", (name, "cyan"), (f" = {clean(value)}", "dim"))
        for each in task.waits:
            yield _wait(each, f"{indent}  waits for ", now)
        if task.tasks:
            yield Text(f"{indent}  waits for {_named(task.tasks)}", "dim")
        elif not task.waits:
            yield Text(f"{indent}  waits for another asyncio task, a lock, a queue or the like", "dim")
        for each in task.running:
            yield _wait(each, f"{indent}  also running: ", now)


def _line(line: Line, indent: str) -> Iterator[Text]:
    yield Text.assemble(indent, (line.function, "bold"), (f"  {line.file}:{line.line}", "dim"))
    if line.source:
        yield Text.assemble(indent, "  ", (clean(line.source), "green"))


def _named(paths: Sequence[str]) -> str:
    """`asyncio tasks 0/0 and 0/1`."""
    if len(paths) == 1:
        return f"asyncio task {paths[0]}"
    *first, last = paths if len(paths) <= MOST_TASKS else (*paths[:MOST_TASKS], f"{len(paths) - MOST_TASKS:,} more")
    return f"asyncio tasks {', '.join(first)} and {last}"


def _wait(each: Awaited, label: str, now: datetime) -> Text:
    text = Text.assemble((label, "yellow"), (clean(each.what.removeprefix("wait for ")), "yellow"))
    if each.since is not None:
        text.append(f", since {_when(each.since, now)}", "dim")
    if each.until is not None:
        text.append(f", until {_when(each.until, now)}", "dim")
    return text


def _when(at: datetime, now: datetime) -> str:
    seconds = (now - at).total_seconds()
    when = clock_time(at) if abs(seconds) < DAY_S else local_time(at)
    return f"{when} ({how_long(seconds)} ago)" if seconds >= 0 else f"{when} (in {how_long(-seconds)})"
