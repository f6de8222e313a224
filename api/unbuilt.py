"""Routes of the contract that are not built yet: 501, so that nobody takes them for misspelt."""

from typing import NoReturn

from aiohttp import web

from durably import NotBuilt

__all__ = ["routes"]

RESOURCES = ("retry-policies", "jobs", "runs", "usage", "run_stats", "environments", "keys")
PAGES = ("/openapi.json", "/metrics")


def routes() -> list[web.RouteDef]:
    """Those of whole resources with every method, and with everything below."""
    whole = [*PAGES]
    for name in RESOURCES:
        whole += [f"/api/v1/{name}", f"/api/v1/{name}/{{rest:.*}}"]
    return [web.route("*", path, _refuse) for path in whole]


async def _refuse(request: web.Request) -> NoReturn:
    raise NotBuilt(f"{request.method} {request.path}")
