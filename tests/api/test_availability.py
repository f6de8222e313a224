"""Whether the engine takes work: it drains, it is gone, its store fails."""

import asyncio
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from durably import Engine, current, step, workflow

pytestmark = pytest.mark.anyio

GREET = "/api/v1/workflows/greet/actions/run"


async def test_without_a_running_engine_the_server_says_so(launch: Any, api: Any) -> None:
    del launch
    await api.engine.__aexit__(None, None, None)
    assert (await api.get("/health/live")).status == 200
    for method, path in [
        ("GET", "/health/ready"),
        ("GET", "/"),
        ("GET", "/api/v1/workflow-runs"),
        ("GET", "/api/v1/workflow-runs/r"),
        ("POST", "/api/v1/workflow-runs/r/actions/cancel"),
        ("GET", "/api/v1/workflows"),
        ("GET", "/api/v1/workflows/greet"),
        ("POST", "/api/v1/workflows/greet/actions/run"),
    ]:
        answer = await api(method, path)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1"), path
        assert "the engine is not running" in answer.error["detail"]
    refused = await api.post("/e/k", json={"name": "a"})
    assert (refused.status, refused.json["status"]) == (503, 503)


async def test_while_the_engine_drains_only_reading_goes_on(launch: Any) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    @step
    async def work() -> int:
        started.set()
        await release.wait()
        return current().attempt

    @workflow
    async def busy() -> int:
        return await work()

    api = await launch(Engine("memory://", workflows=[busy], drain_timeout=30))
    assert (await api.get("/health/ready")).status == 200
    run = await api.engine.start(busy)
    await started.wait()
    stopping = asyncio.create_task(api.engine.__aexit__(None, None, None))
    while not api.engine.core.draining:
        await checkpoint()

    ready = await api.get("/health/ready")
    assert ready.status == 503
    assert "stopping" in ready.error["detail"]
    for path in ("/e/k", "/api/v1/workflows/busy/actions/run"):
        assert (await api.post(path, json={"name": "a"})).status == 503
    assert (await api.get(f"/api/v1/workflow-runs/{run.id}")).status == 200
    assert (await api.get("/health/live")).status == 200

    release.set()
    await stopping
    assert (await api.get(f"/api/v1/workflow-runs/{run.id}")).status == 503


async def test_a_failing_store_is_unavailable(stubborn_api: Any) -> None:
    stubborn_api.engine.stubborn.failing = True
    assert (await stubborn_api.post("/e/k", json={"name": "a"})).status == 503  # the commit that fails
    answer = await stubborn_api.post(GREET, json={"input": {"name": "you"}})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.error["code"] == "unavailable"
