"""`durably replay --all-open`: every open run of a store, tried with the code that is to be deployed."""

import sys

import click
import msgspec
from msgspec import Struct, field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from durably import Engine
from durably.api.commands.source import Server, open_store
from durably.api.console import clean, error_console, output_console
from durably.api.target import Target, load_codec
from durably.encryption import Codec
from durably.engine.execution.rehearsal import Rehearsal, Verdict

__all__ = ["rehearse"]

EXAMPLES = 3
"""Runs that are named of each group."""

REDRAW_EVERY = 100


class Group(Struct):
    """Runs of one workflow that would block in the same way."""

    first: Verdict
    runs: list[str] = field(default_factory=list[str])
    count: int = 0

    def add(self, verdict: Verdict) -> None:
        """Count one more."""
        self.count += 1
        if len(self.runs) < EXAMPLES:
            self.runs.append(verdict.run)


class Tally:
    """What was found so far: bounded, however many runs there are."""

    def __init__(self) -> None:
        self.open = 0
        self.groups: dict[tuple[str, int, str], Group] = {}

    @property
    def blocked(self) -> int:
        """Runs that would block."""
        return sum(group.count for group in self.groups.values())

    def add(self, verdict: Verdict) -> None:
        """Take in what became of one run."""
        self.open += 1
        if not verdict.fits:
            key = (verdict.workflow, verdict.version, verdict.kind)
            self.groups.setdefault(key, Group(verdict)).add(verdict)


async def rehearse(code: Target, server: Server, *, as_json: bool) -> bool:
    """Try every open run; whether all of them fit."""
    rehearsal, tally = Rehearsal(code.workflows), Tally()
    url, codec = _store(code.engine, server)
    async with open_store(url, codec) as stored:
        with _progress(quiet=as_json) as progress:
            task = progress.add_task("replaying", total=await stored.count_open())
            async for run_id, rows in stored.open_logs():
                verdict = rehearsal.try_run(run_id, rows)
                tally.add(verdict)
                if as_json and not verdict.fits:
                    click.echo(msgspec.json.encode(_facts(verdict)))
                if tally.open % REDRAW_EVERY == 0:
                    progress.update(task, completed=tally.open)
    if as_json:
        totals = {"open": tally.open, "fit": tally.open - tally.blocked, "would_block": tally.blocked}
        click.echo(msgspec.json.encode(totals))
    else:
        _show(tally, code.name, output_console())
    return not tally.blocked


def _store(engine: Engine | None, server: Server) -> tuple[str, Codec | None]:
    """The store that is meant: what is said, else that of the engine in TARGET, else the one that `serve` takes."""
    codec = None if server.codec is None else load_codec(server.codec)
    if server.url is not None and server.store is None and engine is None:
        raise click.UsageError("--all-open reads a store, beside its server: name it with --store")
    if engine is not None:
        return server.store or engine.url, codec or engine.codec
    return server.store or "sqlite:///durably.db", codec


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=error_console(),
        transient=True,
        disable=quiet or not sys.stderr.isatty(),
    )


def _facts(verdict: Verdict) -> dict[str, object]:
    return {
        "run": verdict.run,
        "workflow": verdict.workflow,
        "version": verdict.version,
        "fits": verdict.fits,
        "kind": verdict.kind,
        "mismatch": verdict.message,
    }


def _show(tally: Tally, target: str, console: Console) -> None:
    if not tally.groups:
        runs = "no run is open" if not tally.open else f"all {tally.open:,} open runs fit" if tally.open > 1 else ""
        console.print(Text(f"{runs or 'the one open run fits'}: nothing would block with {target}", "green"))
        return
    said = f"{tally.blocked:,} of {tally.open:,} open runs would block with {target}"
    console.print(Text(said, "bold red"), soft_wrap=True)
    for group in sorted(tally.groups.values(), key=lambda each: -each.count):
        first = group.first
        of = f"{first.workflow} version {first.version}" if first.workflow else "unreadable"
        runs = "1 run" if group.count == 1 else f"{group.count:,} runs"
        names = ", ".join(group.runs) + (", …" if group.count > len(group.runs) else "")
        console.print()
        console.print(
            Text.assemble((clean(of), "bold"), "  ", (first.kind, "magenta"), f"  {runs}: ", (clean(names), "dim")),
            soft_wrap=True,
        )
        for line in clean(first.message).splitlines():
            console.print(Text(f"  {line}"), soft_wrap=True)
