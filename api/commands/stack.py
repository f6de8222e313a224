"""Where a run is parked, drawn for a terminal: its asyncio tasks as a tree, with lines, locals and waits."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from rich.text import Text

from durably.api.console import clean, clock_time, how_long, local_time
from durably.engine.body.parked import Awaited, Line, ParkedTask

__all__ = ["draw_stack"]

DAY_S = 86_400
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
        if not task.stack:
            yield Text(f"{indent}  not in a line of yours", "dim")
        for each in task.waits:
            yield _wait(each, indent + "  ", now)
        if not task.waits:
            yield Text(f"{indent}  waits for another asyncio task, a lock, a queue or the like", "dim")


def _line(line: Line, indent: str) -> Iterator[Text]:
    yield Text.assemble(indent, (line.function, "bold"), (f"  {line.file}:{line.line}", "dim"))
    if line.source:
        yield Text.assemble(indent, "  ", (clean(line.source), "green"))


def _wait(each: Awaited, indent: str, now: datetime) -> Text:
    text = Text.assemble(indent, ("waits for ", "yellow"), (clean(each.what), "yellow"))
    if each.since is not None:
        text.append(f", since {_when(each.since, now)}", "dim")
    if each.until is not None:
        text.append(f", until {_when(each.until, now)}", "dim")
    return text


def _when(at: datetime, now: datetime) -> str:
    seconds = (now - at).total_seconds()
    when = clock_time(at) if abs(seconds) < DAY_S else local_time(at)
    return f"{when} ({how_long(seconds)} ago)" if seconds >= 0 else f"{when} (in {how_long(-seconds)})"
