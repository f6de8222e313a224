"""`GET /api/v1/workflow-runs/{id}/stack`."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Api

pytestmark = pytest.mark.anyio


async def test_a_run_that_sleeps(api: "Api") -> None:
    started = await api.post("/api/v1/workflows/nap/actions/run", json={"input": {"seconds": 3600}, "run_id": "n"})
    assert started.status == 201
    answer = await api.get("/api/v1/workflow-runs/n/stack")
    while not answer.json["data"]["attributes"]["tasks"]:  # it begins after the answer
        answer = await api.get("/api/v1/workflow-runs/n/stack")
    data = answer.json["data"]
    assert (answer.status, data["type"], data["id"]) == (200, "workflow_run_stack", "n")
    [task] = data["attributes"]["tasks"]
    assert task["path"] == "0"
    assert (task["stack"][0]["function"], task["stack"][0]["source"]) == ("nap", "await asyncio.sleep(seconds)")
    assert task["waits"][0]["key"] == "0/timer#0"


async def test_a_run_that_has_ended_has_none(api: "Api") -> None:
    await api.post("/api/v1/workflows/greet/actions/run?wait=10", json={"input": {"name": "Ada"}, "run_id": "g"})
    assert (await api.get("/api/v1/workflow-runs/g/stack")).json["data"]["attributes"] == {"tasks": []}


async def test_a_run_that_is_not_there(api: "Api") -> None:
    assert (await api.get("/api/v1/workflow-runs/x/stack")).error["code"] == "not_found"
