"""Commands of the contract that are not built yet: they say so, with exit status 2."""

from typing import Any

import click

from durably import NotBuilt
from durably.api.commands.command import Command

__all__ = ["verify", "worker"]


def _unbuilt(name: str) -> click.Command:
    def refuse(**_: Any) -> None:
        raise NotBuilt(f"`durably {name}`")

    return Command(
        name,
        callback=refuse,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        help="Not built yet.",
    )


worker = _unbuilt("worker")
verify = _unbuilt("verify")
