"""`/api/v1/retry-policies`: the third seed's resource over HTTP."""

from typing import Any

import pytest

from tests.api.conftest import Answer, Api

pytestmark = pytest.mark.anyio

PATH = "/api/v1/retry-policies"
JSON_API = {"Content-Type": "application/vnd.api+json"}
LEAST = {"name": "p", "max_retries": 3, "backoff": "fixed", "delay_seconds": 5}


def body(attributes: dict[str, Any], policy_id: str | None = "a") -> dict[str, Any]:
    data: dict[str, Any] = {"type": "retry_policy", "attributes": attributes}
    if policy_id is not None:
        data["id"] = policy_id
    return {"data": data}


async def create(api: Api, policy_id: str | None = "a", **changed: Any) -> Answer:
    return await api.post(PATH, json=body({**LEAST, **changed}, policy_id))


async def test_a_new_policy_is_answered_as_it_is_stored(api: Api) -> None:
    answer = await create(api, "nightly_backup", retry_statuses=["5XX", "429"])
    assert (answer.status, answer.headers["Location"]) == (201, f"{PATH}/nightly_backup")
    data = answer.json["data"]
    assert (data["type"], data["id"]) == ("retry_policy", "nightly_backup")
    read_only = {name: data["attributes"].pop(name) for name in ("created_at", "updated_at", "deleted_at", "version")}
    assert data["attributes"] == {
        **LEAST,
        "max_delay_seconds": None,
        "retry_on_timeout": False,
        "retry_on_connection_error": False,
        "retry_statuses": ["5xx", "429"],
        "retry_statuses_except": [],
    }
    assert read_only["created_at"] == read_only["updated_at"]
    assert (read_only["deleted_at"], read_only["version"]) == (None, 1)
    assert (await api.get(f"{PATH}/nightly_backup")).json["data"]["id"] == "nightly_backup"


@pytest.mark.parametrize("policy_id", [None, "", "x" * 256, "a\nb", ".", ".."])
async def test_the_client_chooses_an_id(api: Api, policy_id: str | None) -> None:
    answer = await create(api, policy_id)
    assert (answer.status, answer.error["source"]) == (400, {"pointer": "/data/id"})


async def test_ids_with_odd_characters_are_found(api: Api) -> None:
    assert (await create(api, "a/b c")).headers["Location"] == f"{PATH}/a%2Fb%20c"
    assert (await api.get(f"{PATH}/a%2Fb%20c")).status == 200


async def test_a_second_one_of_that_id_is_refused_until_the_first_is_deleted(api: Api) -> None:
    await create(api)
    assert (await create(api)).status == 409
    assert (await api("DELETE", f"{PATH}/a")).status == 204
    assert (await api.get(f"{PATH}/a")).status == 404
    assert (await create(api)).status == 201


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"name": ""}, "/data/attributes/name"),
        ({"max_retries": 11}, "/data/attributes/max_retries"),
        ({"delay_seconds": 0}, "/data/attributes/delay_seconds"),
        ({"backoff": "linear"}, "/data/attributes/backoff"),
        ({"retry_statuses": ["429", "6xx"]}, "/data/attributes/retry_statuses/1"),
        ({"max_delay_seconds": 60}, "/data/attributes/max_delay_seconds"),
        ({"retry_on": {"statuses": [503]}}, "/data/attributes/retry_on"),
        ({"max_retry": 5}, "/data/attributes/max_retry"),
    ],
)
async def test_what_is_wrong_is_pointed_to(api: Api, changed: dict[str, Any], pointer: str) -> None:
    answer = await create(api, **changed)
    assert (answer.status, answer.error["source"]) == (400, {"pointer": pointer})


async def test_several_flaws_are_several_errors(api: Api) -> None:
    answer = await create(api, retry_on={}, max_delay_seconds=60)
    pointers = [error["source"]["pointer"] for error in answer.json["errors"]]
    assert pointers == ["/data/attributes/retry_on", "/data/attributes/max_delay_seconds"]


async def test_read_change_and_put_the_whole_document(api: Api) -> None:
    await create(api, backoff="exponential", max_delay_seconds=60, retry_statuses=["5xx"])
    document = (await api.get(f"{PATH}/a")).json
    document["data"]["attributes"]["max_retries"] = 7
    changed = await api("PUT", f"{PATH}/a", json=document, headers=JSON_API)
    assert changed.status == 200
    attributes = changed.json["data"]["attributes"]
    assert (attributes["max_retries"], attributes["version"], attributes["retry_statuses"]) == (7, 2, ["5xx"])


async def test_put_resets_what_is_left_out_and_needs_what_is_required(api: Api) -> None:
    await create(api, retry_on_timeout=True, retry_statuses=["5xx"])
    answer = await api("PUT", f"{PATH}/a", json=body(LEAST))
    attributes = answer.json["data"]["attributes"]
    assert (attributes["retry_on_timeout"], attributes["retry_statuses"]) == (False, [])
    incomplete = {name: value for name, value in LEAST.items() if name != "backoff"}
    answer = await api("PUT", f"{PATH}/a", json=body(incomplete))
    assert (answer.status, answer.error["source"]) == (400, {"pointer": "/data/attributes/backoff"})
    assert (await api("PUT", f"{PATH}/b", json=body(LEAST, "b"))).status == 404
    assert (await api("PUT", f"{PATH}/a", json=body(LEAST, "b"))).status == 409


async def test_they_are_listed_by_name_in_pages(api: Api) -> None:
    for policy_id, name in (("1", "Retry on 5xx"), ("2", "nightly"), ("3", "retry RATE limits")):
        await create(api, policy_id, name=name)

    async def ids(query: str = "") -> list[str]:
        return [each["id"] for each in (await api.get(PATH + query)).json["data"]]

    assert await ids() == ["1", "2", "3"]
    assert await ids("?sort=-name") == ["3", "2", "1"]
    assert await ids("?filter[name]=RETRY") == ["1", "3"]
    assert await ids("?filter[name]=retry,nightly") == [], "part of a name, commas too"
    assert await ids("?page[size]=2&page[number]=2") == ["3"]
    answer = await api.get(PATH + "?page[size]=2&meta[total]=true")
    assert answer.json["meta"]["pagination"] == {"page": 1, "size": 2, "total": 3, "total_pages": 2}
    for query in ("?page[size]=0", "?page[size]=1001", "?page[number]=0", "?sort=color", "?filter[color]=red"):
        assert (await api.get(PATH + query)).status == 400


async def test_a_policy_that_jobs_name_cannot_be_deleted(api: Api) -> None:
    await create(api)
    api.engine.core.policies.referencing = {"a": ["nightly"]}.__getitem__
    answer = await api("DELETE", f"{PATH}/a")
    assert (answer.status, answer.error["meta"]) == (409, {"referencing_jobs": ["nightly"]})


async def test_they_survive_a_restart(sqlite_api: Api) -> None:
    await create(sqlite_api)
    store = sqlite_api.engine.core.store
    assert [row.id for row in await store.documents("retry_policy")] == ["a"]
