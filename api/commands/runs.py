"""`durably runs` and `durably show`."""

from collections.abc import Iterator, Sequence

import click
from msgspec import to_builtins
from rich.text import Text

from durably import History, RunInfo
from durably.api import target as targets
from durably.api.commands.arguments import since as a_time
from durably.api.commands.command import Command, option, print_json, say
from durably.api.commands.picture import STATUS_STYLES, draw, head
from durably.api.commands.source import Server, Source, open_source, reading
from durably.api.commands.stack import draw_stack
from durably.api.commands.timeline import timeline
from durably.api.console import clean, how_long, one_line, output_console
from durably.api.target import Target
from durably.engine.body.parked import ParkedTask
from durably.engine.body.playback import Playback
from durably.engine.errors import NondeterminismError
from durably.engine.log.grammar import parse
from durably.engine.log.records import from_us
from durably.replay import Replayer
from durably.store import RunQuery
from durably.store.runtime import SystemClock

__all__ = ["runs", "show"]

STATUSES = ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED")
PHASES = ("blocked", "queued", "executing", "retrying", "waiting", "sleeping")

TRIGGERS = ("EVENT", "SCHEDULE", "MANUAL", "RERUN", "FORK", "CHILD")

HEADS = tuple(Text(name, "dim") for name in ("run", "workflow", "status", "created", "took", "tasks"))
ALWAYS = 3
"""Columns that are always there, whole: what a run is called and how it stands."""
GAP = "  "
LEAST_ERROR = 16
"""Columns below which the beginning of an error tells nothing."""


@click.command(cls=Command)
@option(
    "--status",
    multiple=True,
    type=click.Choice(STATUSES, case_sensitive=False),
    help="Only runs that stand so; may be given several times.",
)
@option(
    "--phase",
    multiple=True,
    type=click.Choice(PHASES, case_sensitive=False),
    help="Only open runs in this phase; may be given several times.",
)
@option(
    "--workflow",
    multiple=True,
    metavar="NAME",
    help="Only runs of this workflow; may be given several times.",
)
@option(
    "--trigger",
    multiple=True,
    type=click.Choice(TRIGGERS, case_sensitive=False),
    help="Only runs that began so; may be given several times.",
)
@option("--event", multiple=True, metavar="NAME", help="Only runs started by this event; may be given several times.")
# No environment variable: that one says where a server is, or what a key is for.
@click.option("--environment", multiple=True, metavar="NAME", help="Only runs there; may be given several times.")
@option("--since", callback=a_time, metavar="TIME", help="Only runs created since: 15m, 2h, 7d, or a time.")
@option("--until", callback=a_time, metavar="TIME", help="Only runs created before that.")
@option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The most that are listed.")
@reading
async def runs(
    *,
    status: Sequence[str],
    phase: Sequence[str],
    workflow: Sequence[str],
    trigger: Sequence[str],
    event: Sequence[str],
    environment: Sequence[str],
    since: int | None,
    until: int | None,
    limit: int,
    server: Server,
    as_json: bool,
) -> None:
    """List runs, newest first."""
    wanted = RunQuery(
        status=tuple(status),
        phase=tuple(phase),
        workflow=tuple(workflow),
        trigger=tuple(trigger),
        event=tuple(event),
        environment=tuple(environment),
        created_from_us=since,
        created_until_us=until,
        limit=limit,
    )
    async with open_source(server) as source:
        found = await source.runs(wanted)
    if as_json:
        print_json(found)
    elif found:
        console = output_console()
        for line in _lines(found, console.width):
            console.print(line, soft_wrap=True)
    else:
        say("no runs")


def _lines(found: Sequence[RunInfo], width: int) -> Iterator[Text]:
    """A line for each run. No id and no status is cut: where it is too narrow, what is least asked for goes."""
    rows = [HEADS, *map(_cells, found)]
    widths = [max(row[column].cell_len for row in rows) for column in range(len(HEADS))]
    while len(widths) > ALWAYS and sum(widths) + len(GAP) * (len(widths) - 1) > width:
        widths.pop()
    left = width - sum(widths) - len(GAP) * len(widths)
    for row, info in zip(rows, (None, *found), strict=True):
        line = Text(GAP).join(_padded(cell, column) for cell, column in zip(row, widths, strict=False))
        if info is not None and info.error is not None and left >= LEAST_ERROR:
            why = Text(one_line(str(info.error), most=left), "red")
            why.truncate(left, overflow="ellipsis")
            line.append(GAP).append_text(why)
        line.rstrip()
        yield line


def _cells(info: RunInfo) -> tuple[Text, ...]:
    status = Text(info.status, STATUS_STYLES[info.status])
    if info.phase is not None:
        status.append(f" {info.phase}", "bold magenta" if info.phase == "blocked" else "dim")
    took = "" if info.finished_at is None else how_long((info.finished_at - info.created_at).total_seconds())
    created = info.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
    return Text(info.id), Text(clean(info.workflow)), status, Text(created), Text(took), Text(str(info.tasks))


def _padded(cell: Text, width: int) -> Text:
    padded = cell.copy()
    padded.truncate(width, pad=True)
    return padded


@click.command(cls=Command)
@click.argument("run")
@click.argument("target", required=False)
@reading
async def show(run: str, target: str | None, server: Server, as_json: bool) -> None:
    """Show what RUN did: its steps, attempts, waits and errors, and its time per step as bars.

    Below that, while it is open, the lines at which it waits: asked of the server, or, of a store that is read without
    one, found out with the code of TARGET.
    """
    code = None if target is None else targets.load(target)
    async with open_source(server) as source:
        info = await source.run(run)
        history = await source.history(run)
        stack, mismatch = await _standing(source, info, history, code)
    rows = timeline(history)
    if as_json:
        print_json({**to_builtins(info), "timeline": rows, "stack": stack, "mismatch": mismatch})
        return
    now = from_us(SystemClock().wall_us())
    console = output_console()
    for line in head(info, now):
        console.print(line, soft_wrap=True)
    console.print()
    began = min((record.at for record in history), default=info.created_at)  # of a fork, its origin's
    for line in draw(rows, began, info.finished_at or now, now):
        console.print(line, soft_wrap=True)
    if stack or mismatch:
        console.print()
    for text in clean(mismatch or "").splitlines():
        console.print(Text(f"  {text}", "magenta"), soft_wrap=True)
    for line in draw_stack(stack, now):
        console.print(line, soft_wrap=True)


async def _standing(
    source: Source, info: RunInfo, history: History, code: Target | None
) -> tuple[list[ParkedTask], str | None]:
    """Where an open run's code stands, or why it stands nowhere: it does not fit, and nobody has marked that yet."""
    try:
        return await _stack(source, info, history, code), None
    except NondeterminismError as misfit:
        return [], str(misfit)


async def _stack(source: Source, info: RunInfo, history: History, code: Target | None) -> list[ParkedTask]:
    """Where an open run's code stands. Of one that is blocked, its error has told."""
    if info.phase is None or info.phase == "blocked":
        return []
    if code is None:
        return await source.stack(info.id)
    log = parse(history.entries())
    if not log.incarnations:
        return []
    with Playback(Replayer(code.workflows).workflow_of(log), info.id, log) as playback:
        if playback.misfit is not None:
            raise playback.misfit
        return playback.tasks()
