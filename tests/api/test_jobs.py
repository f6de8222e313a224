"""`/api/v1/jobs`: the vendor's resource over HTTP. What a job may be is tested in tests/engine/jobs."""

import json
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest

from durably.engine.access.keys import Scope, new_key
from durably.store.runtime import SystemRandomness
from tests.api.conftest import Launch
from tests.api.job_api import JOBS, JSON_API, JobApi, open_job_api

pytestmark = pytest.mark.anyio

READ_ONLY = ("kind", "created_at", "updated_at", "deleted_at", "version")


@pytest.fixture
async def jobs(launch: Launch) -> AsyncIterator[JobApi]:
    async with open_job_api(launch) as found:
        yield found


def pointers(answer: Any) -> list[str]:
    assert answer.status == 400
    return [error["source"]["pointer"] for error in answer.json["errors"]]


async def test_a_new_job_is_answered_as_it_is_stored(jobs: JobApi) -> None:
    attributes = {"name": "Nightly", "configuration": {"url": "https://example.com"}, "schedule": "0 2 * * *"}
    answer = await jobs.write("POST", JOBS, "a/b c", attributes)
    assert (answer.status, answer.headers["Location"]) == (201, f"{JOBS}/a%2Fb%20c")
    data = answer.json["data"]
    assert (data["type"], data["id"]) == ("job", "a/b c")
    read_only = {name: data["attributes"].pop(name) for name in READ_ONLY}
    assert data["attributes"] == {
        "name": "Nightly",
        "description": None,
        "type": "http",
        "schedule": "0 2 * * *",
        "timezone": None,
        "configuration": {
            "url": "https://example.com",
            "method": "POST",
            "headers": {},
            "body": None,
            "success_status": "2xx",
            "timeout": 30,
            "tls_verify": True,
            "ca_cert": None,
        },
        "environments": {},
        "concurrency_policy": "ALLOW",
        "retry_policy": None,
        "catch_up": "once",
    }
    assert read_only == {
        "kind": "recurring",
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "deleted_at": None,
        "version": 1,
    }
    assert (await jobs.get(f"{JOBS}/a%2Fb%20c"))["data"]["id"] == "a/b c"


@pytest.mark.parametrize("job_id", ["", "x" * 256, "a\nb", ".", ".."])
async def test_the_client_chooses_an_id(jobs: JobApi, job_id: str) -> None:
    assert pointers(await jobs.write("POST", JOBS, job_id, jobs.attributes())) == ["/data/id"]


async def test_one_id_is_one_job(jobs: JobApi) -> None:
    await jobs.create()
    assert (await jobs.write("POST", JOBS, "job", jobs.attributes())).error["code"] == "conflict"


async def test_all_mistakes_are_told_at_once_with_pointers(jobs: JobApi) -> None:
    attributes = {
        "name": "",
        "configuration": {"url": "nowhere", "timeout": 0},
        "retry_policy": "no-such",
        "environments": {"production": {"headers.X Y": "1", "retry_policy": None}, "a/b": {}},
    }
    at = "/data/attributes"
    assert sorted(pointers(await jobs.write("POST", JOBS, "job", attributes))) == [
        f"{at}/configuration/timeout",
        f"{at}/configuration/url",
        f"{at}/environments/a~1b",
        f"{at}/environments/production/headers.X Y",
        f"{at}/environments/production/retry_policy",
        f"{at}/name",
        f"{at}/retry_policy",
    ]


async def test_an_entry_is_echoed_as_it_was_written_with_its_next_run(jobs: JobApi) -> None:
    staging = {"enabled": True, "schedule": "0 4 * * *", "headers.X-Foo.Bar": "1", "timeout": 5}
    await jobs.create(schedule="0 2 * * *", environments={"staging": staging, "production": {"url": "http://other"}})
    environments = (await jobs.get(f"{JOBS}/job"))["data"]["attributes"]["environments"]
    assert environments == {
        "staging": {**staging, "next_run_at": "2026-01-01T04:00:00Z"},
        "production": {"enabled": False, "url": "http://other", "next_run_at": None},
    }


async def test_get_change_put_of_the_whole_document(jobs: JobApi) -> None:
    created = await jobs.create(schedule="0 2 * * *", description="old", request={"headers": {"X-Key": "s3cr3t"}})
    await jobs.engine.clock.advance(60)
    attributes = created["attributes"]
    attributes["name"] = "changed"
    answer = await jobs.write("PUT", f"{JOBS}/job", "job", attributes)
    assert answer.status == 200
    changed = answer.json["data"]["attributes"]
    assert changed == {**attributes, "version": 2, "updated_at": "2026-01-01T00:01:00Z"}


async def test_put_clears_what_is_left_out_and_wants_what_is_required(jobs: JobApi) -> None:
    await jobs.policy()
    await jobs.create(schedule="0 2 * * *", timezone="Europe/Berlin", description="d", retry_policy="again")
    least = {"name": "least", "configuration": {"url": "https://example.com"}}
    changed = (await jobs.write("PUT", f"{JOBS}/job", "job", least)).json["data"]["attributes"]
    cleared = ("schedule", "timezone", "description", "retry_policy", "environments")
    assert [changed[name] for name in cleared] == [None, None, None, None, {}]
    assert changed["kind"] == "manual"
    assert pointers(await jobs.write("PUT", f"{JOBS}/job", "job", {"name": "x"})) == ["/data/attributes/configuration"]


async def test_an_id_cannot_be_changed(jobs: JobApi) -> None:
    await jobs.create()
    answer = await jobs.write("PUT", f"{JOBS}/job", "other", jobs.attributes())
    assert (answer.status, answer.error["source"]["pointer"]) == (409, "/data/id")


async def test_a_deleted_job_is_gone_and_its_runs_stay(jobs: JobApi) -> None:
    await jobs.create()
    run_id = await jobs.run()
    assert (await jobs("DELETE", f"{JOBS}/job")).status == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/actions/run")):
        assert (await jobs(method, f"{JOBS}/job{path}")).status == 404
    assert (await jobs.write("PUT", f"{JOBS}/job", "job", jobs.attributes())).status == 404
    assert (await jobs.get(f"/api/v1/runs/{run_id}"))["data"]["attributes"]["job"] == "job"
    assert (await jobs.create())["attributes"]["version"] == 1


async def test_a_policy_that_jobs_name_tells_which(jobs: JobApi) -> None:
    await jobs.policy()
    await jobs.create("b", retry_policy="again")
    await jobs.create("a", environments={"staging": {"retry_policy": "again"}})
    refused = await jobs("DELETE", "/api/v1/retry-policies/again")
    assert (refused.status, refused.error["meta"]) == (409, {"referencing_jobs": ["a", "b"]})


async def test_a_body_of_1_mib_is_taken(jobs: JobApi) -> None:
    body = '"\n' * (512 * 1024)  # each character takes two in JSON
    for method, path, more, status in (("POST", JOBS, "", 201), ("PUT", f"{JOBS}/job", "x", 400)):
        attributes = jobs.attributes(request={"body": body + more})
        document = json.dumps({"data": {"type": "job", "id": "job", "attributes": attributes}})
        answer = await jobs.api(method, path, data=BytesIO(document.encode()), headers=JSON_API)
        assert answer.status == status
    assert pointers(answer) == ["/data/attributes/configuration/body"]
    assert (await jobs.get(f"{JOBS}/job"))["data"]["attributes"]["configuration"]["body"] == body


# -- lists


async def listed(jobs: JobApi, **query: str) -> list[str]:
    return [each["id"] for each in (await jobs.get(JOBS, params=query))["data"]]


async def test_lists_leave_one_off_jobs_out_unless_they_are_asked_for(jobs: JobApi) -> None:
    await jobs.create("nightly", name="C", schedule="0 2 * * *")
    await jobs.create("idle", name="B", schedule="0 2 * * *", environments={})
    await jobs.create("manual", name="A")
    await jobs.create("later", name="D", schedule="2026-06-01T00:00:00Z")
    await jobs.create("spent", name="E", schedule="now")
    await jobs.pass_time(0)
    assert await listed(jobs) == ["manual", "idle", "nightly"]
    assert await listed(jobs, **{"filter[kind]": "one_off"}) == ["later", "spent"]
    assert await listed(jobs, **{"filter[kind]": "recurring"}) == ["idle", "nightly"]
    assert await listed(jobs, **{"filter[scheduled]": "true"}) == ["nightly", "later"]
    assert await listed(jobs, **{"filter[scheduled]": "false"}) == ["manual", "idle"]
    assert await listed(jobs, **{"filter[kind]": "one_off", "filter[scheduled]": "false"}) == ["spent"]


async def test_lists_are_filtered_sorted_and_paged(jobs: JobApi) -> None:
    for name in ("alpha", "Beta", "gamma"):
        await jobs.create(f"id-{name}", name=name)
        await jobs.engine.clock.advance(1)
    assert await listed(jobs, **{"filter[name]": "ET"}) == ["id-Beta"]
    assert await listed(jobs, **{"filter[name]": "a,b"}) == [], "part of a name, commas too"
    assert await listed(jobs, sort="-created_at") == ["id-gamma", "id-Beta", "id-alpha"]
    page = await jobs.get(JOBS, params={"sort": "created_at", "page[number]": "2", "page[size]": "2"})
    assert [each["id"] for each in page["data"]] == ["id-gamma"]
    assert page["meta"] == {"pagination": {"page": 2, "size": 2}}
    total = await jobs.get(JOBS, params={"meta[total]": "true"})
    assert total["meta"] == {"pagination": {"page": 1, "size": 1000, "total": 3, "total_pages": 1}}


@pytest.mark.parametrize(
    "query",
    [
        {"filter[kind]": "nightly"},
        {"filter[scheduled]": "maybe"},
        {"filter[nmae]": "x"},
        {"sort": "kind"},
        {"page[size]": "0"},
        {"page[number]": "0"},
    ],
)
async def test_bad_parameters_are_refused(jobs: JobApi, query: dict[str, str]) -> None:
    answer = await jobs.api.get(JOBS, params=query)
    assert (answer.status, answer.error["source"]["parameter"]) == (400, next(iter(query)))


# -- running


async def test_a_job_runs_where_it_is_enabled(jobs: JobApi) -> None:
    await jobs.create()
    answer = await jobs("POST", f"{JOBS}/job/actions/run", {})
    assert answer.status == 200
    run = answer.json["data"]
    assert (run["type"], run["attributes"]["trigger"], run["attributes"]["environment"]) == (
        "run",
        "MANUAL",
        "production",
    )
    assert run["attributes"]["scheduled_for"] is None
    await jobs.engine.settle()
    assert jobs.destination.hits == 1


async def test_no_body_at_all_is_as_good(jobs: JobApi) -> None:
    await jobs.create()
    assert (await jobs("POST", f"{JOBS}/job/actions/run")).status == 200


@pytest.mark.parametrize(
    ("environments", "body"),
    [
        ({}, {}),
        ({"production": {"enabled": False}}, {"environment": "production"}),
        ({"production": {"enabled": True}}, {"environment": "staging"}),
        ({"production": {"enabled": True}, "staging": {"enabled": True}}, {}),
    ],
)
async def test_elsewhere_it_is_refused(jobs: JobApi, environments: dict[str, Any], body: dict[str, str]) -> None:
    await jobs.create(environments=environments)
    assert (await jobs("POST", f"{JOBS}/job/actions/run", body)).status == 409
    assert await jobs.runs() == []


# -- keys


async def key(jobs: JobApi, scope: Scope, environment: str) -> dict[str, str]:
    """A key's header."""
    now_us = jobs.engine.core.clock.now_us()
    made = new_key(scope, scope, environment, now_us=now_us, expires_us=None, randomness=SystemRandomness())
    await jobs.engine.core.documents.save(made.row)
    return {"Authorization": f"Bearer {made.text}"}


async def test_a_key_of_one_environment_sees_and_changes_that_one_only(jobs: JobApi) -> None:
    both = {"production": {"enabled": True}, "staging": {"enabled": True, "timeout": 5}}
    await jobs.create(environments=both)
    production, admin = await key(jobs, "write", "production"), await key(jobs, "admin", "production")
    seen = (await jobs.api.get(f"{JOBS}/job", headers=production)).json["data"]["attributes"]
    assert list(seen["environments"]) == ["production"]
    seen["environments"]["production"]["enabled"] = False
    assert (await jobs.write("PUT", f"{JOBS}/job", "job", seen, headers=production)).status == 200
    all_of_it = (await jobs.api.get(f"{JOBS}/job", headers=admin)).json["data"]["attributes"]["environments"]
    assert all_of_it["staging"] == {**both["staging"], "next_run_at": None}
    assert all_of_it["production"]["enabled"] is False
    foreign: dict[str, Any] = {**seen, "environments": {"staging": {}}}
    answer = await jobs.write("PUT", f"{JOBS}/job", "job", foreign, headers=production)
    assert pointers(answer) == ["/data/attributes/environments/staging"]


async def test_a_key_of_one_environment_runs_jobs_there(jobs: JobApi) -> None:
    await jobs.create(environments={"production": {"enabled": True}, "staging": {"enabled": True}})
    staging = await key(jobs, "write", "staging")
    run = f"{JOBS}/job/actions/run"
    assert (await jobs("POST", run, {}, headers=staging)).json["data"]["attributes"]["environment"] == "staging"
    assert (await jobs("POST", run, {"environment": "production"}, headers=staging)).status == 403


async def test_a_one_off_without_environments_is_for_that_of_the_key(jobs: JobApi) -> None:
    later: dict[str, Any] = {"schedule": "2026-06-01T00:00:00Z", "environments": {}}
    refused = await jobs.write("POST", JOBS, "job", jobs.attributes(**later))
    assert pointers(refused) == ["/data/attributes/environments"]
    staging = await key(jobs, "write", "staging")
    answer = await jobs.write("POST", JOBS, "job", jobs.attributes(**later), headers=staging)
    assert answer.status == 201
    assert list(answer.json["data"]["attributes"]["environments"]) == ["staging"]


async def test_headers_are_for_keys_that_may_write_them(jobs: JobApi) -> None:
    staging = {"enabled": True, "headers.X-Token": "s3cr3t"}
    await jobs.create(request={"headers": {"Authorization": "Bearer s3cr3t"}}, environments={"staging": staging})
    reader, writer = await key(jobs, "read", "staging"), await key(jobs, "write", "staging")
    for path in (f"{JOBS}/job", JOBS):
        seen = await jobs.api.get(path, headers=reader)
        assert (seen.status, "s3cr3t" in seen.text) == (200, False)
        assert "Authorization" in seen.text
        assert "headers.X-Token" in seen.text
        assert (await jobs.api.get(path, headers=writer)).text.count("s3cr3t") == 2
