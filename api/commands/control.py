"""What is done to a run: `durably cancel`, `signal`, `rerun` and `fork`."""

from collections.abc import Mapping
from typing import Any

import click

from durably import RunInfo
from durably.api.commands.arguments import json_by_step, json_object, json_value, objects_by_step, place
from durably.api.commands.arguments import version as a_version
from durably.api.commands.command import Command, option, print_json, put, say
from durably.api.commands.source import Server, changing, open_server

__all__ = ["cancel", "fork", "rerun", "signal"]


@click.command(cls=Command)
@click.argument("run")
@changing
async def cancel(run: str, server: Server, as_json: bool) -> None:
    """Cancel RUN: `CancelledError` arrives at the await it is at, and what it cleans up is waited for.

    Exit status 1 when it had ended.
    """
    async with open_server(server) as remote:
        info = await remote.cancel(run)
    if as_json:
        print_json(info)
    else:
        say(f"run {info.id} is asked to end; it is {info.status} now. `durably show {info.id}` tells how it went")


@click.command(cls=Command)
@click.argument("run")
@click.argument("name")
@click.argument("data", metavar="[JSON]", callback=json_value, default="null")
@changing
async def signal(run: str, name: str, data: object, server: Server, as_json: bool) -> None:
    """Send RUN the signal NAME, which `wait_for_signal` gives it. JSON is its data; - reads it from standard input.

    A signal is kept until the run asks for it. Exit status 1 when the run had ended.
    """
    async with open_server(server) as remote:
        info = await remote.signal(run, name, data)
    if as_json:
        print_json(info)
    else:
        say(f"run {info.id} has the signal {name!r}; it is {info.status} {info.phase or ''}".rstrip())


@click.command(cls=Command)
@click.argument("run")
@option("--input", "given", callback=json_object, metavar="JSON", help="Other arguments, by parameter name.")
@option(
    "--version",
    callback=a_version,
    metavar="N",
    default="current",
    show_default=True,
    help="current, original, or a number.",
)
@option("--from-step", metavar="STEP", help="Take over what was done before this step, by its key or its name.")
@changing
async def rerun(
    *,
    run: str,
    given: Mapping[str, Any] | None,
    version: str | int,
    from_step: str | None,
    server: Server,
    as_json: bool,
) -> None:
    """Start a new run with the input of RUN, or with another. Prints the new run's id."""
    async with open_server(server) as remote:
        info = await remote.rerun(run, input=given, version=version, from_step=from_step)
    _tell_of(info, f"does again what {run} did", as_json=as_json)


@click.command(cls=Command)
@click.argument("run")
@option(
    "--at",
    callback=place,
    metavar="SEQ|STEP",
    help="The last record that is taken over, or the first step that is not, by its key or its name.  "
    "[default: just before the failure]",
)
@option(
    "--patch",
    multiple=True,
    callback=json_by_step,
    metavar="STEP=JSON",
    help="What a step is to have come to; may be given several times.",
)
@option(
    "--args",
    multiple=True,
    callback=objects_by_step,
    metavar="STEP=JSON",
    help="Other arguments for a step, by parameter name; may be given several times.",
)
@changing
async def fork(
    *,
    run: str,
    at: int | str | None,
    patch: Mapping[str, Any],
    args: Mapping[str, Any],
    server: Server,
    as_json: bool,
) -> None:
    """Start a new run that takes over what RUN did up to a place, and goes on from there. Prints the new run's id."""
    async with open_server(server) as remote:
        info = await remote.fork(run, at=at, patch=patch or None, args=args or None)
    _tell_of(info, f"goes on from the middle of {run}", as_json=as_json)


def _tell_of(info: RunInfo, does: str, *, as_json: bool) -> None:
    """A new run."""
    if as_json:
        print_json(info)
    else:
        put(info.id)
        say(f"run {info.id} of {info.workflow} {does}. `durably show {info.id}` tells how it goes.")
