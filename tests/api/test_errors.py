"""Refusals in the one shape, and errors that nobody expected."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from durably import Engine

pytestmark = pytest.mark.anyio


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


class BrokenEngine(Engine):
    async def page(self, query: Any) -> Any:
        raise RuntimeError(f"a secret about {query}")


async def test_an_unexpected_error_is_logged_and_not_told(launch: Any) -> None:
    api = await launch(BrokenEngine("memory://"))
    with capture_logs() as logs:
        answer = await api.get("/api/v1/workflow-runs")
    assert answer.status == 500
    assert answer.error["code"] == "internal_error"
    assert "secret" not in answer.text
    [entry] = logs
    assert (entry["event"], entry["path"]) == ("http.failed", "/api/v1/workflow-runs")
    assert "a secret" in str(entry["exception"])
    assert (await api.get("/health/live")).status == 200
