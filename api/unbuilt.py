"""Routes of the contract that are not built yet: 501, so that nobody takes them for misspelt."""

from typing import NoReturn

from aiohttp import web

from durably import NotBuilt
from durably.api.runs import PATH as RUNS

__all__ = ["routes"]

RESOURCES = ("retry-policies", "jobs", "runs", "usage", "run_stats", "environments", "keys")
PAGES = ("/openapi.json", "/metrics")
OF_A_RUN = (("GET", "stream"), ("POST", "actions/fork"), ("POST", "actions/signal"))


def routes() -> list[web.RouteDef]:
    """Those of whole resources with every method, and with everything below."""
    whole = [*PAGES]
    for name in RESOURCES:
        whole += [f"/api/v1/{name}", f"/api/v1/{name}/{{rest:.*}}"]
    return [
        *(web.route("*", path, _refuse) for path in whole),
        *(web.route(method, f"{RUNS}/{{id}}/{path}", _refuse) for method, path in OF_A_RUN),
    ]


async def _refuse(request: web.Request) -> NoReturn:
    raise NotBuilt(f"{request.method} {request.path}")
