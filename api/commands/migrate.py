"""`durably migrate`."""

import click

from durably.api.commands.command import Command, json_option, option, print_json, say
from durably.store import open_url

__all__ = ["migrate"]


@click.command(cls=Command)
@option("--store", metavar="URL", default="sqlite:///durably.db", show_default=True, help="The store.")
@json_option
async def migrate(store: str, as_json: bool) -> None:
    """Bring a store to this version's schema, or create it. No engine may have it open.

    `serve` and `dev` do so themselves; this is for deployments that want it done, or refused, before.
    """
    opened = open_url(store)
    await opened.open()
    await opened.close()
    if as_json:
        print_json({"store": opened.location, "migrated": True})
    else:
        say(f"{opened.location} is up to date")
