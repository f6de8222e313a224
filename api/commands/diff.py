"""`durably diff`: what two runs did differently."""

from collections.abc import Iterator, Sequence

import click
from rich.text import Text

from durably import History
from durably.api.commands.command import NO, Command, print_json
from durably.api.commands.history import read_history
from durably.api.commands.source import Server, reading
from durably.api.console import clean, how_long, one_line, output_console
from durably.engine.log.diff import Pair, Strand
from durably.engine.log.diff import diff as compare
from durably.engine.log.history import HistoryRecord

__all__ = ["diff"]

SUMMARY = ("output", "error", "input", "delay", "event", "signal", "reason")
"""What is shown of a record that only one side has: the first of these that it has."""

MOST_NAMES = 4
"""Keys that are named of a stretch in which nothing differs."""


@click.command(cls=Command)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@reading
def diff(before: str, after: str, server: Server, as_json: bool) -> None:
    """Show what the runs, or exported histories, A and B did differently.

    Records are aligned by what they are about (a step, a timer, a wait), not by number; times are shown from each run's
    beginning and are no difference. Exit status 0 when both did the same, else 1.
    """
    one, other = read_history(before, server), read_history(after, server)
    strands = compare(one, other)
    same = all(strand.same for strand in strands)
    if as_json:
        print_json({"same": same, "strands": [_facts(strand) for strand in strands if not strand.same]})
    else:
        for line in _picture(one, other, strands):
            output_console().print(line, soft_wrap=True)
    if not same:
        click.get_current_context().exit(NO)


def _facts(strand: Strand) -> dict[str, object]:
    return {
        "key": strand.key,
        "name": strand.name,
        "moved": strand.moved,
        "records": [
            {
                "type": pair.type,
                "before": pair.before and pair.before.to_dict(),
                "after": pair.after and pair.after.to_dict(),
                "changes": [each.text() for each in pair.changes],
            }
            for pair in strand.pairs
            if not pair.same
        ],
    }


# -- the picture


def _picture(one: History, other: History, strands: Sequence[Strand]) -> Iterator[Text]:
    if all(strand.same for strand in strands):
        yield Text(f"same: both did the same, in {len(one)} records", "green")
        return
    yield Text(f"--- {_title(one)}", "red")
    yield Text(f"+++ {_title(other)}", "green")
    same: list[Strand] = []
    for strand in strands:
        if strand.same:
            same.append(strand)
            continue
        yield from _passed_over(same)
        same = []
        yield from _strand(strand)
    yield from _passed_over(same)


def _title(history: History) -> str:
    run = history.run
    return f"run {run.get('id')}  {run.get('workflow')} version {run.get('version')}  {run.get('status')}"


def _passed_over(same: Sequence[Strand]) -> Iterator[Text]:
    """One line for what is the same."""
    if same:
        names = ", ".join(strand.key or strand.name for strand in same[:MOST_NAMES])
        more = ", …" if len(same) > MOST_NAMES else ""
        yield Text(f"  … {len(same)} the same: {clean(names)}{more}", "dim")


def _strand(strand: Strand) -> Iterator[Text]:
    moved = "  came at another point" if strand.moved else ""
    key = f"  {strand.key}" if strand.key else ""
    yield Text.assemble("  ", (clean(strand.name), "bold"), (clean(key), "dim"), (moved, "magenta"))
    for pair in strand.pairs:
        yield from _pair(pair)


def _pair(pair: Pair) -> Iterator[Text]:
    if pair.before is None or pair.after is None:
        record, seconds = (pair.after, pair.after_s) if pair.before is None else (pair.before, pair.before_s)
        assert record is not None
        sign, style = ("+", "green") if pair.before is None else ("-", "red")
        yield Text(f"  {sign}   {_what(record)}  {_offset(seconds)}{_summary(record)}", style)
        return
    times = f"{_offset(pair.before_s)}, now {_offset(pair.after_s)}"
    if pair.same:
        yield Text(f"      {_what(pair.before)}  {times}", "dim")
        return
    yield Text.assemble("  ~   ", (_what(pair.before), "yellow"), (f"  {times}", "dim"))
    for change in pair.changes:
        yield Text(f"        {one_line(change.text())}", "yellow")


def _what(record: HistoryRecord) -> str:
    attempt = record.get("attempt")
    return record.type if attempt is None else f"{record.type} {attempt}"


def _offset(seconds: float) -> str:
    return f"+{how_long(seconds)}"


def _summary(record: HistoryRecord) -> str:
    for name in SUMMARY:
        value = record.get(name)
        if value is not None:
            text = f"error {value['type']}: {value.get('message', '')}" if name == "error" else f"{name} {value!r}"
            return f"  {one_line(text, 120)}"
    return ""
