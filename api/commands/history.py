"""`durably export` and `durably replay`."""

import asyncio
from pathlib import Path

import click

from durably import DurablyError, History, NondeterminismError, NotBuilt
from durably.api import target as targets
from durably.api.commands.command import NO, Command, option, print_json, put, say
from durably.api.commands.source import Server, open_source, reading
from durably.replay import Replayer

__all__ = ["export", "replay"]


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


def _refuse(_ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value:
        raise NotBuilt(f"`durably replay {param.opts[0]}`")


@click.command(cls=Command)
@click.argument("history", metavar="FILE|RUN")
@click.argument("target")
@option("--until", metavar="SEQ", type=int, expose_value=False, callback=_refuse, help="(not built yet)")
@option("--pdb", is_flag=True, expose_value=False, callback=_refuse, help="(not built yet)")
@option("--all-open", is_flag=True, expose_value=False, is_eager=True, callback=_refuse, help="(not built yet)")
@reading
def replay(history: str, target: str, server: Server, as_json: bool) -> None:
    """Replay a history with the code of TARGET: does it still do what FILE, or RUN, says it did?

    No step runs and nothing is changed. Exit status 1, and what differs, when it does not fit.
    """
    code = targets.load(target)
    given = _read(history, server)
    name = given.run.get("id", history)
    try:
        Replayer(code.workflows).replay(given)
    except NondeterminismError as error:
        if as_json:
            print_json({"run": name, "fits": False, "mismatch": str(error)})
        else:
            put(f"{error}")
        click.get_current_context().exit(NO)
    if as_json:
        print_json({"run": name, "fits": True, "records": len(given)})
    else:
        put(f"run {name} fits: {target} does what its {len(given)} records say")


def _read(history: str, server: Server) -> History:
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
