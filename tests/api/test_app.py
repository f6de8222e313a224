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


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/api", "/api/v1", "/api/v1/", "/api/v2/events", "/e", "/health", "/%00", "//", "/../etc"],
)
async def test_an_unknown_address_is_not_found(api: Any, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await api.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'{"errors":[{"status":"404","code":"not_found","title":"Not Found"' in answer


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/api/v1/workflow-runs/x", "GET, HEAD"),
        ("POST", "/api/v1/workflow-runs", "GET, HEAD"),
        ("GET", "/api/v1/workflows/x/actions/run", "POST"),
        ("GET", "/api/v1/workflow-runs/x/actions/cancel", "POST"),
        ("PUT", "/health/live", "GET, HEAD"),
        ("OPTIONS", "/", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(api: Any, method: str, path: str, allow: str) -> None:
    answer = await api(method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, allow)
    assert answer.error["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/e/k", "/api/v1/events"])
async def test_events_with_a_wrong_method_are_refused_in_their_shape(api: Any, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert (answer.json["ids"], answer.json["status"]) == ([], 405)


async def test_the_front_page_says_where_to_look(api: Any) -> None:
    answer = await api.get("/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for link in ("/api/v1/workflow-runs", "/api/v1/workflows", "/health/ready"):
        assert f'href="{link}"' in answer.text
        assert (await api.get(link)).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/retry-policies"),
        ("POST", "/api/v1/retry-policies"),
        ("PUT", "/api/v1/retry-policies/p"),
        ("GET", "/api/v1/jobs"),
        ("POST", "/api/v1/jobs/j/actions/run"),
        ("GET", "/api/v1/runs"),
        ("POST", "/api/v1/runs/r/actions/rerun"),
        ("GET", "/api/v1/usage"),
        ("GET", "/api/v1/run_stats"),
        ("GET", "/api/v1/environments"),
        ("DELETE", "/api/v1/environments/staging"),
        ("GET", "/api/v1/keys"),
        ("GET", "/openapi.json"),
        ("GET", "/metrics"),
        ("GET", "/api/v1/workflow-runs/r/stream"),
        ("POST", "/api/v1/workflow-runs/r/actions/fork"),
        ("POST", "/api/v1/workflow-runs/r/actions/signal"),
    ],
)
async def test_what_is_not_built_says_so(api: Any, method: str, path: str) -> None:
    answer = await api(method, path)
    assert answer.status == 501
    assert answer.error["code"] == "not_built"
    assert f"{method} {path} is part of Durably's contract and is not built yet" in answer.error["detail"]
