"""`/api/v1/bulk-operations`: previewed, begun, followed and stopped over HTTP."""

from typing import Any

import pytest

from durably import Engine, RunCanceled
from tests.api.conftest import Answer, Api

pytestmark = pytest.mark.anyio

PATH = "/api/v1/bulk-operations"


def body(**attributes: Any) -> dict[str, Any]:
    return {"data": {"type": "bulk_operation", "attributes": attributes}}


async def sleepers(api: Api, count: int) -> list[str]:
    ids: list[str] = []
    for _ in range(count):
        answer = await api.post("/api/v1/workflows/nap/actions/run", json={})
        ids.append(answer.json["data"]["id"])
    return ids


async def ended(engine: Engine, answer: Answer) -> None:
    run = await engine.get_run(answer.json["data"]["id"])
    await run.result(timeout=20)


async def test_a_preview_counts_and_names_runs_and_does_nothing(api: Api) -> None:
    ids = await sleepers(api, 3)
    await api.post("/api/v1/workflows/broken/actions/run", json={})
    answer = await api.post(f"{PATH}/actions/preview", json=body(action="cancel", filter={"workflow": ["nap"]}))
    attributes = answer.json["data"]["attributes"]
    assert (answer.status, attributes) == (200, {"action": "cancel", "total": 3, "runs": ids[::-1]})
    assert {(await (await api.engine.get_run(run_id)).status()) for run_id in ids} <= {"PENDING", "RUNNING"}


async def test_runs_are_canceled_and_the_progress_is_shown(api: Api) -> None:
    ids = await sleepers(api, 3)
    begun = await api.post(PATH, json=body(action="cancel", filter={"workflow": ["nap"]}, rate=1000))
    assert begun.status == 201
    assert begun.headers["Location"] == f"{PATH}/{begun.json['data']['id']}"
    assert begun.json["data"]["attributes"]["total"] == 3
    await ended(api.engine, begun)
    shown = (await api.get(begun.headers["Location"])).json["data"]["attributes"]
    assert (shown["status"], shown["done"], shown["skipped"], shown["failed"]) == ("SUCCEEDED", 3, 0, 0)
    assert shown["finished_at"] is not None
    for run_id in ids:
        with pytest.raises(RunCanceled):
            await (await api.engine.get_run(run_id)).result(timeout=20)
    [listed] = (await api.get(PATH)).json["data"]
    assert (listed["id"], listed["attributes"]) == (begun.json["data"]["id"], shown)


async def test_one_can_be_stopped(api: Api) -> None:
    await sleepers(api, 2)
    begun = await api.post(PATH, json=body(action="cancel", filter={"workflow": ["nap"]}, rate=0.01))
    path = begun.headers["Location"]
    assert (await api.post(f"{path}/actions/cancel")).status == 200
    run = await api.engine.get_run(begun.json["data"]["id"])
    with pytest.raises(Exception, match="canceled"):
        await run.result(timeout=20)
    answer = await api.post(f"{path}/actions/cancel")
    assert (answer.status, answer.error["code"]) == (409, "conflict")


async def test_other_runs_are_no_bulk_operations(api: Api) -> None:
    [run_id] = await sleepers(api, 1)
    assert (await api.get(f"{PATH}/{run_id}")).status == 404
    assert (await api.post(f"{PATH}/{run_id}/actions/cancel")).status == 404


@pytest.mark.parametrize(
    ("attributes", "pointer"),
    [
        ({"action": "delete"}, "/data/attributes/action"),
        ({}, "/data/attributes/action"),
        ({"action": "cancel", "rate": 0}, "/data/attributes/rate"),
        ({"action": "cancel", "filter": {"status": ["DONE"]}}, "/data/attributes/filter/status/0"),
        ({"action": "cancel", "filter": {"status": ["RUNNING", "FAILED"]}}, "/data/attributes/filter/status"),
        ({"action": "cancel", "filter": {"color": ["red"]}}, "/data/attributes/filter/color"),
        (
            {"action": "cancel", "filter": {"created_from": "2026-01-01T00:00:00"}},
            "/data/attributes/filter/created_from",
        ),
    ],
)
async def test_what_is_wrong_is_pointed_to(api: Api, attributes: dict[str, Any], pointer: str) -> None:
    answer = await api.post(PATH, json=body(**attributes))
    assert (answer.status, answer.error["source"]) == (400, {"pointer": pointer})
