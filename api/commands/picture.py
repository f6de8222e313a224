"""A run drawn for a terminal: what it is, and its steps, waits and children as bars over time."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from rich.text import Text

from durably import RunInfo
from durably.api.commands.timeline import Row, Segment
from durably.api.console import clean, clock_time, how_long, local_time, one_line

__all__ = ["STATUS_STYLES", "draw", "head"]

STATUS_STYLES = {
    "PENDING": "yellow",
    "RUNNING": "cyan",
    "SUCCEEDED": "green",
    "FAILED": "bold red",
    "CANCELED": "magenta",
}
CELLS = 32
"""Columns of a bar: the whole of the run's time."""
NAME_COLUMNS = (8, 28)
VALUE_LENGTH = 300
TRACEBACK_LINES = 30

BARS = {"running": "━", "waiting": "┄", "sleeping": "·", "blocked": "✕", "elsewhere": "═"}
BAR_STYLES = {
    "running": "green",
    "waiting": "yellow",
    "sleeping": "blue",
    "blocked": "bold magenta",
    "elsewhere": "cyan",
}
OUTCOME_STYLES = {
    "succeeded": "green",
    "received": "green",
    "failed": "bold red",
    "running": "cyan",
    "canceled": "magenta",
    "lost": "red",
}


# -- the head


def head(info: RunInfo, now: datetime) -> Iterator[Text]:
    """What the run is and how it stands."""
    yield Text.assemble(
        ("run ", "dim"), (info.id, "bold"), "  ", info.workflow, (f" version {info.version}  ", "dim"),
        (info.status, STATUS_STYLES[info.status]), _phase(info),
    )  # fmt: skip
    yield _fact("began", f"{local_time(info.created_at)}, {_origin(info)}, {info.environment}")
    end = info.finished_at or now
    lasted = "took" if info.finished_at else "open for"
    yield _fact(lasted, f"{how_long((end - info.created_at).total_seconds())}, {_count(info.tasks, 'task')}, "
                f"{_count(info.history_length, 'record')}")  # fmt: skip
    yield _fact("input", _value(info.input))
    if info.continued_to is not None:
        yield _fact("goes on as", info.continued_to)
    elif info.status == "SUCCEEDED":
        yield _fact("output", _value(info.output))
    if info.next_retry_at is not None:
        yield _fact("next retry", _when(info.next_retry_at, now), "bold yellow")
    if info.error is not None:
        yield from _trouble(info)


def _phase(info: RunInfo) -> Text:
    style = "bold magenta" if info.phase == "blocked" else "dim"
    return Text(f" {info.phase}" if info.phase else "", style)


def _origin(info: RunInfo) -> str:
    test = ", in test mode" if info.test else ""
    if info.origin is None:
        by = info.trigger.lower() if info.event is None else f"by event {info.event} ({info.event_id})"
    elif info.trigger in {"RERUN", "FORK"} or info.origin == info.parent:
        by = f"{info.trigger.lower()} of {info.origin}"
    else:
        by = f"goes on where {info.origin} ended"
    return by + test


def _fact(name: str, value: str, style: str = "") -> Text:
    return Text.assemble((f"  {name:<11}", "dim"), (clean(value), style))


def _value(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= VALUE_LENGTH else f"{text[:VALUE_LENGTH]}… ({len(text):,} characters)"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _trouble(info: RunInfo) -> Iterator[Text]:
    assert info.error is not None
    if info.phase == "blocked":
        yield Text()
        for line in clean(info.error.message).splitlines():
            yield Text(f"  {line}", "magenta")
        return
    yield _fact("error", str(info.error), "red")
    if info.error.traceback:
        for line in clean(info.error.traceback).splitlines()[-TRACEBACK_LINES:]:
            yield Text(f"    {line}", "dim")


# -- the picture


def draw(rows: Sequence[Row], began: datetime, end: datetime, now: datetime) -> Iterator[Text]:
    """A line for each row, with a bar from `began` to `end`, and its notes below it. `now` is for countdowns."""
    shown = [row for row in rows if row.key != "queued" or row.end is None or _seconds(row, end) >= 1]
    if not shown:
        return
    width = min(max(NAME_COLUMNS[0], *(len(row.name) for row in shown)), NAME_COLUMNS[1])
    for row in shown:
        name = clean(row.name)
        name = name if len(name) <= width else name[: width - 1] + "…"
        offset = f"+{how_long(max((row.start - began).total_seconds(), 0))}"
        took = how_long(_seconds(row, end)) if row.segments else ""
        yield Text.assemble(
            (f"{offset:>13}  ", "dim"),
            f"{name:<{width}}  ",
            _bar(row, began, end),
            f"  {took:>12}  ",
            _outcome(row, now),
        )
        for note in row.notes:
            due = "" if note.due_at is None else f" · tried again at {clock_time(note.due_at)}"
            yield Text(f"{'':15}{'':{width}}  {clock_time(note.at)} {one_line(note.text)}{due}", "red dim")


def _seconds(row: Row, end: datetime) -> float:
    return ((row.end or end) - row.start).total_seconds()


def _outcome(row: Row, now: datetime) -> Text:
    parts = [clean(row.outcome)]
    if row.attempts > 1 and row.due_at is None:
        parts.append(f"{row.attempts} attempts")
    if row.due_at is not None:
        parts.append(_until(row.due_at, now) if row.kind == "wait" else f"due {_when(row.due_at, now)}")
    if row.run:
        parts.append(f"run {row.run}")
    return Text(", ".join(filter(None, parts)), OUTCOME_STYLES.get(row.outcome, "yellow" if row.due_at else ""))


def _until(due_at: datetime, now: datetime) -> str:
    left = (due_at - now).total_seconds()
    return f"until {_clock(due_at, left)}" + (f" (in {how_long(left)})" if left > 0 else "")


def _when(due_at: datetime, now: datetime) -> str:
    left = (due_at - now).total_seconds()
    when = _clock(due_at, left)
    return f"in {how_long(left)} ({when})" if left > 0 else f"now ({when})"


def _clock(at: datetime, left: float) -> str:
    return clock_time(at) if left < 86_400 else local_time(at)  # noqa: PLR2004 - seconds of a day


def _bar(row: Row, began: datetime, end: datetime) -> Text:
    """One cell for each part of the time. Nothing is too short to be seen, and work is drawn over waits."""
    cells = [(" ", "")] * CELLS
    span = max((end - began).total_seconds(), 1e-6)
    for segment in sorted(row.segments, key=lambda each: each.doing == "running"):
        first = _cell(segment.start, began, span)
        last = max(first, _cell(segment.end or end, began, span, ending=True))
        cells[first : last + 1] = [_ink(segment)] * (last + 1 - first)
    for moment in row.moments:
        cells[_cell(moment, began, span)] = ("◆", "magenta")
    bar = Text()
    for character, style in cells:
        bar.append(character, style)
    return bar


def _cell(at: datetime, began: datetime, span: float, *, ending: bool = False) -> int:
    cell = (at - began).total_seconds() / span * CELLS
    index = int(cell) - 1 if ending and cell == int(cell) else int(cell)
    return min(max(index, 0), CELLS - 1)


def _ink(segment: Segment) -> tuple[str, str]:
    style = BAR_STYLES[segment.doing] if segment.ok else "red"
    return BARS[segment.doing], style
