"""`durably environments`: the names that keep runs, events and keys apart."""

import click

from durably.api.commands.administrator import administering, open_administrator
from durably.api.commands.command import Command, print_json, put, say
from durably.api.commands.source import Server

__all__ = ["environments"]


@click.group()
def environments() -> None:
    """Environments, which keep runs, events and keys apart. production, staging and development exist from the start.

    These commands change a store, also beside the server that has it open, or, with --url and a key of scope admin,
    ask a server.
    """


@environments.command("list", cls=Command)
@administering
async def list_(*, server: Server, as_json: bool) -> None:
    """List all environments."""
    async with open_administrator(server) as administrator:
        found = await administrator.environments()
    if as_json:
        print_json(found)
        return
    for each in found:
        put(each.name)


@environments.command(cls=Command)
@click.argument("name")
@administering
async def create(*, name: str, server: Server, as_json: bool) -> None:
    """Make an environment called NAME: lower-case letters, digits, - and _."""
    async with open_administrator(server, make=True) as administrator:
        await administrator.create_environment(name)
    if as_json:
        print_json({"created": name})
    else:
        say(f"environment {name} is there. `durably keys create NAME --environment {name}` makes a key for it.")


@environments.command(cls=Command)
@click.argument("name")
@administering
async def delete(*, name: str, server: Server, as_json: bool) -> None:
    """Delete the environment NAME, which no job and no key may name. What ran in it stays."""
    async with open_administrator(server) as administrator:
        await administrator.delete_environment(name)
    if as_json:
        print_json({"deleted": name})
    else:
        say(f"environment {name} is deleted")
