"""`/health/live` and `/health/ready`."""

from typing import Any

import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_all_is_well(api: Any, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert answer.headers["Content-Type"] == "application/json"
    assert (await api("HEAD", path)).status == 200


async def test_not_ready_while_the_store_cannot_be_written_and_ready_again(stubborn_api: Any) -> None:
    api = stubborn_api
    api.engine.stubborn.failing = True
    await api.post("/e/k", json={"name": "a"})
    answer = await api.get("/health/ready")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert "the disk is full" in answer.error["detail"]
    assert (await api.get("/health/live")).status == 200

    api.engine.stubborn.failing = False
    while (await api.get("/health/ready")).status == 503:
        pass  # the engine looks every second
    assert (await api.post("/e/k", json={"name": "a"})).status == 200
