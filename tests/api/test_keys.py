"""`/api/v1/keys`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytestmark = pytest.mark.anyio


def body(**attributes: Any) -> dict[str, Any]:
    return {"data": {"type": "key", "attributes": {"name": "ci", "scope": "admin"} | attributes}}


async def create(api: Any, **attributes: Any) -> Any:
    answer = await api.post("/api/v1/keys", json=body(**attributes))
    assert answer.status == 201
    return answer


async def test_a_key_is_shown_once_and_works(api: Any) -> None:
    answer = await create(api, environment="staging")
    made = answer.json["data"]
    text = made["attributes"].pop("key")
    assert answer.headers["Location"] == f"/api/v1/keys/{made['id']}"
    assert text.startswith(f"dk_{made['id']}_")
    created_at = made["attributes"].pop("created_at")
    assert abs(datetime.fromisoformat(created_at) - datetime.now(UTC)) < timedelta(minutes=5)
    assert made == {
        "type": "key",
        "id": made["id"],
        "attributes": {
            "name": "ci",
            "scope": "admin",
            "environment": "staging",
            "expires_at": None,
            "revoked_at": None,
        },
    }

    headers = {"Authorization": f"Bearer {text}"}
    made["attributes"]["created_at"] = created_at
    assert (await api.get("/api/v1/keys", headers=headers)).json["data"] == [made]
    assert (await api.get(f"/api/v1/keys/{made['id']}", headers=headers)).json["data"] == made


@pytest.mark.parametrize("by", ["id", "name"])
async def test_a_key_is_revoked_and_stays_in_the_list(api: Any, by: str) -> None:
    headers = {"Authorization": f"Bearer {(await create(api)).json['data']['attributes']['key']}"}
    answer = await api.post("/api/v1/keys", json=body(name="old", scope="read"), headers=headers)
    which = answer.json["data"]["id"] if by == "id" else "old"
    assert (await api("DELETE", f"/api/v1/keys/{which}", headers=headers)).status == 204
    listed = (await api.get("/api/v1/keys", headers=headers)).json["data"]
    assert [key["attributes"]["revoked_at"] is not None for key in listed] == [False, True]
    assert (await api("DELETE", f"/api/v1/keys/{which}", headers=headers)).status == 404


async def test_the_default_environment_is_production_and_an_end_can_be_set(api: Any) -> None:
    attributes = (await create(api, expires_at="2999-01-01T02:00:00+02:00")).json["data"]["attributes"]
    assert (attributes["environment"], attributes["expires_at"]) == ("production", "2999-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("attributes", "pointer", "says"),
    [
        ({"name": ""}, "/data/attributes/name", "length >= 1"),
        ({"name": "n" * 201}, "/data/attributes/name", "length <= 200"),
        ({"name": "a\nb"}, None, "printable"),
        ({"scope": "root"}, "/data/attributes/scope", "root"),
        ({"scope": None}, "/data/attributes/scope", "str"),
        ({"environment": "nowhere"}, "/data/attributes/environment", "there are production, staging, development"),
        ({"expires_at": "2999-01-01T00:00:00"}, "/data/attributes/expires_at", "timezone"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, None, "expired already"),
        ({"key": "dk_x"}, "/data/attributes/key", "unknown field"),
    ],
)
async def test_what_cannot_be_made(api: Any, attributes: Any, pointer: str | None, says: str) -> None:
    answer = await api.post("/api/v1/keys", json=body(**attributes))
    assert answer.status == 400
    assert says in answer.error["detail"]
    assert answer.error.get("source") == (None if pointer is None else {"pointer": pointer})
    assert (await api.get("/api/v1/keys")).json["data"] == []


async def test_an_id_cannot_be_chosen(api: Any) -> None:
    answer = await api.post("/api/v1/keys", json={"data": {**body()["data"], "id": "mine"}})
    assert (answer.status, answer.error["source"]) == (403, {"pointer": "/data/id"})


async def test_what_is_not_there(api: Any) -> None:
    for method in ("GET", "DELETE"):
        answer = await api(method, "/api/v1/keys/nobody")
        assert (answer.status, answer.error["code"]) == (404, "not_found")


async def test_nothing_is_made_while_the_store_cannot_be_written(stubborn_api: Any) -> None:
    stubborn_api.engine.stubborn.failing = True
    await stubborn_api.post("/e/x", json={"name": "a"})
    answer = await stubborn_api.post("/api/v1/keys", json=body())
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
