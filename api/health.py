"""`/health/live`: the process answers. `/health/ready`: it takes work, too."""

from typing import Literal

import msgspec
from aiohttp import web

from durably import Engine
from durably.api.availability import unavailable, why_unavailable
from durably.api.operations import Media, Operation
from durably.api.responses import JSON, respond

__all__ = ["Health"]


class Well(msgspec.Struct):
    """All is well."""

    status: Literal["ok"] = "ok"


OK = msgspec.json.encode(Well())


class Health:
    """For whoever restarts the process, and whoever sends it requests."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def operations(self) -> list[Operation]:
        answers = {200: Media(JSON, Well)}
        return [
            Operation("GET", "/health/live", self.live, "Whether the process answers", "open", answers=answers),
            Operation("GET", "/health/ready", self.ready, "Whether it takes work, too", "open", answers=answers),
        ]

    async def live(self, _: web.Request) -> web.Response:
        """200 as long as the event loop runs."""
        return respond(OK, JSON)

    async def ready(self, _: web.Request) -> web.Response:
        """200, or 503 with the reason while the engine stops or the store cannot be written."""
        why = why_unavailable(self._engine)
        if why is not None:
            raise unavailable(why)
        return respond(OK, JSON)
