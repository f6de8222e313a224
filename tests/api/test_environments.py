"""`/api/v1/environments`."""

from typing import Any

import pytest

pytestmark = pytest.mark.anyio

BUILT_IN = ["production", "staging", "development"]


def body(**resource: Any) -> dict[str, Any]:
    return {"data": {"type": "environment", **resource}}


async def names(api: Any) -> list[str]:
    return [each["id"] for each in (await api.get("/api/v1/environments")).json["data"]]


async def test_three_exist_from_the_start(api: Any) -> None:
    listed = (await api.get("/api/v1/environments")).json["data"]
    assert listed == [
        {"type": "environment", "id": name, "attributes": {"name": name, "created_at": None}} for name in BUILT_IN
    ]
    assert (await api.get("/api/v1/environments/staging")).json["data"] == listed[1]


@pytest.mark.parametrize(
    "resource", [{"attributes": {"name": "qa"}}, {"id": "qa"}, {"id": "qa", "attributes": {"name": "qa"}}]
)
async def test_one_is_made_and_deleted(api: Any, resource: Any) -> None:
    answer = await api.post("/api/v1/environments", json=body(**resource))
    assert (answer.status, answer.headers["Location"]) == (201, "/api/v1/environments/qa")
    made = answer.json["data"]
    assert (made["id"], made["attributes"]["name"]) == ("qa", "qa")
    assert made["attributes"]["created_at"] is not None
    assert (await api.get("/api/v1/environments/qa")).json["data"] == made
    assert await names(api) == [*BUILT_IN, "qa"]
    assert (await api.post("/api/v1/environments", json=body(**resource))).status == 409
    assert (await api("DELETE", "/api/v1/environments/qa")).status == 204
    assert (await api("DELETE", "/api/v1/environments/qa")).status == 404
    assert await names(api) == BUILT_IN
    assert (await api.post("/api/v1/environments", json=body(**resource))).status == 201


@pytest.mark.parametrize(
    ("resource", "says"),
    [
        ({}, "needs a name"),
        ({"id": "qa", "attributes": {"name": "eu"}}, "is the same"),
        ({"attributes": {"name": "No"}}, "lower-case"),
        ({"attributes": {"name": 7}}, "Expected `str`"),
        ({"attributes": {"name": "qa", "more": 1}}, "unknown field"),
    ],
)
async def test_what_cannot_be_made(api: Any, resource: Any, says: str) -> None:
    answer = await api.post("/api/v1/environments", json=body(**resource))
    assert answer.status == 400
    assert says in answer.error["detail"]
    assert await names(api) == BUILT_IN


async def test_those_that_are_named_cannot_be_deleted(api: Any) -> None:
    assert (await api("DELETE", "/api/v1/environments/staging")).error["code"] == "conflict"
    await api.post("/api/v1/environments", json=body(id="qa"))
    key = {"type": "key", "attributes": {"name": "ci", "scope": "admin", "environment": "qa"}}
    text = (await api.post("/api/v1/keys", json={"data": key})).json["data"]["attributes"]["key"]
    answer = await api("DELETE", "/api/v1/environments/qa", headers={"Authorization": f"Bearer {text}"})
    assert (answer.status, "has keys: ci" in answer.error["detail"]) == (409, True)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_is_not_there(api: Any, method: str) -> None:
    answer = await api(method, "/api/v1/environments/nowhere")
    assert (answer.status, answer.error["code"]) == (404, "not_found")
