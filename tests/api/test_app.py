"""All routes together: what every answer has, and what becomes of wrong addresses."""

from typing import Any

import pytest

from durably import Engine
from durably.api.app import make_app

pytestmark = pytest.mark.anyio

SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "durably",
    "X-Content-Type-Options": "nosniff",
}


def routes() -> list[tuple[str, str]]:
    """Every method and path, with something in the place of what varies."""
    found: list[tuple[str, str]] = []
    for route in make_app(Engine("memory://")).router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        for part in ("{id}", "{name}", "{key}", "{rest}"):
            path = path.replace(part, "x")
        found.append((route.method.replace("*", "GET"), path))
    return found


async def test_every_answer_has_the_security_headers(api: Any) -> None:
    assert len(routes()) > 20
    for method, path in [*routes(), ("GET", "/nowhere"), ("DELETE", "/e/k")]:
        answer = await api(method, path)
        assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY, (method, path)
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_no_route_fails_unexpectedly_without_a_body(api: Any) -> None:
    for method, path in routes():
        assert (await api(method, path)).status in {200, 400, 404, 501}, (method, path)


@pytest.mark.parametrize("path", ["/e/k", "/api/v1/events"])
async def test_events_with_a_wrong_method_are_refused_in_their_shape(api: Any, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert (answer.json["ids"], answer.json["status"]) == ([], 405)
