"""`durably cancel` and `durably rerun`."""

from collections.abc import Mapping
from typing import Any

import click

from durably.api.commands.arguments import json_object
from durably.api.commands.arguments import version as a_version
from durably.api.commands.command import Command, option, print_json, put, say
from durably.api.commands.source import Server, changing, open_server

__all__ = ["cancel", "rerun"]


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
@option("--input", "given", callback=json_object, metavar="JSON", help="Other arguments, by parameter name.")
@option(
    "--version",
    callback=a_version,
    metavar="N",
    default="current",
    show_default=True,
    help="current, original, or a number.",
)
@option("--from-step", metavar="STEP", help="Take over what was done before this step.")
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
    options: dict[str, Any] = {"version": version}
    if given is not None:
        options["input"] = given
    if from_step is not None:
        options["from_step"] = from_step
    async with open_server(server) as remote:
        info = await remote.rerun(run, options)
    if as_json:
        print_json(info)
    else:
        put(info.id)
        say(f"run {info.id} of {info.workflow} does again what {run} did. `durably show {info.id}` tells how it goes.")
