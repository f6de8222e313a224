"""`durably export`, and where other commands get a history from."""

import asyncio
from pathlib import Path

import click

from durably import DurablyError, History
from durably.api.commands.command import Command, option, print_json, say
from durably.api.commands.source import Server, open_source, reading

__all__ = ["export", "read_history"]


@click.command(cls=Command)
@click.argument("run")
@option("--output", "-o", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.")
@reading
def export(run: str, output: Path | None, server: Server, as_json: bool) -> None:
    """Write the history of RUN as JSON, for `durably replay` and for tests."""
    history = asyncio.run(_fetch(run, server))
    if output is None:
        click.echo(history.to_json())
        return
    try:
        output.write_text(history.to_json() + "\n", "utf-8")
    except OSError as error:
        raise DurablyError(f"{output} cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"file": str(output), "records": len(history)})
    else:
        say(f"{len(history)} records of run {run} are in {output}")


def read_history(history: str, server: Server) -> History:
    """From a file of that name if there is one, else of a run with that id."""
    file = Path(history)
    if file.is_file():
        try:
            return History.from_json(file.read_bytes())
        except OSError as error:
            raise DurablyError(f"{file} cannot be read: {error.strerror}") from error
    if file.suffix == ".json":
        raise DurablyError(f"there is no file {file}")
    return asyncio.run(_fetch(history, server))


async def _fetch(run: str, server: Server) -> History:
    async with open_source(server) as source:
        return await source.history(run)
