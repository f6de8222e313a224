"""Routes of the contract that are not built yet: 501, so that nobody takes them for misspelt."""

from typing import NoReturn

from aiohttp import web

from durably import NotBuilt
from durably.api.operations import ANY, Operation

__all__ = ["operations"]


def operations() -> list[Operation]:
    """They answer to every method."""
    return [Operation(ANY, "/metrics", _refuse, "Not built yet", "read")]


async def _refuse(request: web.Request) -> NoReturn:
    raise NotBuilt(f"{request.method} {request.path}")
