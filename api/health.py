"""`/health/live`: the process answers. `/health/ready`: it takes work, too."""

from aiohttp import web

from durably import Engine
from durably.api.availability import unavailable, why_unavailable
from durably.api.responses import JSON, respond

__all__ = ["Health"]

OK = b'{"status":"ok"}'


class Health:
    """For whoever restarts the process, and whoever sends it requests."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/health/live", self.live), web.get("/health/ready", self.ready)]

    async def live(self, _: web.Request) -> web.Response:
        """200 as long as the event loop runs."""
        return respond(OK, JSON)

    async def ready(self, _: web.Request) -> web.Response:
        """200, or 503 with the reason while the engine stops or the store cannot be written."""
        why = why_unavailable(self._engine)
        if why is not None:
            raise unavailable(why)
        return respond(OK, JSON)
