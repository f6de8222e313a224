"""`durably keys`: API keys are made, listed and revoked."""

from typing import get_args

import click
from rich.table import Table
from rich.text import Text

from durably.api.commands.administrator import ListedKey, administering, open_administrator
from durably.api.commands.arguments import until
from durably.api.commands.command import Command, option, print_json, say
from durably.api.commands.source import Server
from durably.api.console import clean, local_time, output_console
from durably.api.keys import KeyAttributes
from durably.engine.access.keys import Scope
from durably.engine.log.records import from_us
from durably.store.runtime import SystemClock

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """API keys: who may use a server, and for what.

    From the first key on everybody needs one. These commands change a store, also beside the server that has it open,
    or, with --url and a key of scope admin, ask a server.
    """


@keys.command(cls=Command)
@click.argument("name")
@option(
    "--scope",
    type=click.Choice(get_args(Scope)),
    required=True,
    help="What it is good for: admin includes write, and write includes read.",
)
@option(
    "--environment",
    metavar="NAME",
    default="production",
    show_default=True,
    help="What it starts and sends belongs there; read and write keys see nothing else.",
)
@option("--expires", callback=until, metavar="TIME", help="When it ends: 12h, 90d, or a time.  [default: never]")
@administering
async def create(
    *, name: str, scope: Scope, environment: str, expires: int | None, server: Server, as_json: bool
) -> None:
    """Make a key called NAME. Prints it, alone, on the last line: it can be read this once only."""
    async with open_administrator(server, make=True) as administrator:
        made = await administrator.create_key(name, scope, environment, expires)
    if as_json:
        print_json(made)
        return
    key = made.attributes
    ends = "" if key.expires_at is None else f", until {local_time(key.expires_at)}"
    say(f"key {made.id}, called {name!r}, for {scope} in {environment}{ends}. Keep it: it is not shown again.")
    click.echo(key.key)


@keys.command("list", cls=Command)
@administering
async def list_(*, server: Server, as_json: bool) -> None:
    """List all keys, the oldest first, revoked ones too."""
    async with open_administrator(server) as administrator:
        found = await administrator.keys()
    if as_json:
        print_json(found)
    elif found:
        output_console().print(_table(found), soft_wrap=True)
    else:
        say("no keys; `durably keys create NAME` makes one")


@keys.command(cls=Command)
@click.argument("key")
@administering
async def revoke(*, key: str, server: Server, as_json: bool) -> None:
    """Let KEY, named by its id or by a name that no other has, be good for nothing from the next request on."""
    async with open_administrator(server) as administrator:
        await administrator.revoke_key(key)
    if as_json:
        print_json({"revoked": key})
    else:
        say(f"key {key} is revoked")


def _table(found: list[ListedKey]) -> Table:
    table = Table("id", "name", "scope", "environment", "created", "", box=None, header_style="dim", pad_edge=False)
    for listed in found:
        key = listed.attributes
        standing = _standing(key)
        cells = (listed.id, clean(key.name), key.scope, key.environment, local_time(key.created_at), standing)
        table.add_row(*(Text(cell) for cell in cells), style="dim" if key.revoked_at is not None else "")
    return table


def _standing(key: KeyAttributes) -> str:
    if key.revoked_at is not None:
        return f"revoked {local_time(key.revoked_at)}"
    if key.expires_at is None:
        return ""
    ended = key.expires_at <= from_us(SystemClock().wall_us())
    return f"{'expired' if ended else 'expires'} {local_time(key.expires_at)}"
