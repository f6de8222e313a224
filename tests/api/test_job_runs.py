"""`/api/v1/runs`: runs of jobs over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from durably.engine.execution.journal import settle
from durably.store import Forget, Forgotten, LogRow, Result
from tests.api.conftest import Launch
from tests.api.job_api import JOBS, RUNS, JobApi, open_job_api
from tests.api.test_jobs import key

pytestmark = pytest.mark.anyio


@pytest.fixture
async def jobs(launch: Launch) -> AsyncIterator[JobApi]:
    async with open_job_api(launch) as found:
        yield found


async def attributes(jobs: JobApi, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await jobs.get(f"{RUNS}/{run_id}"))["data"]["attributes"]
    return found


async def chain(jobs: JobApi) -> None:
    """A MANUAL run that fails, a RETRY of it that fails, and one that succeeds; ten seconds between them."""
    jobs.destination.statuses = [500, 503, 200]
    await jobs.policy()
    await jobs.create(retry_policy="again")
    await jobs.run()
    await jobs.pass_time(10)
    await jobs.pass_time(10)


async def test_a_run_tells_everything(jobs: JobApi) -> None:
    await jobs.create(request={"headers": {"Authorization": "Bearer s3cr3t"}, "body": "hello"})
    run_id = await jobs.run()
    assert str(UUID(run_id)) == run_id, "the vendor's clients insist on it"
    told = await attributes(jobs, run_id)
    at = "2026-01-01T00:00:00Z"
    result = told.pop("result")
    assert told == {
        "job": "job",
        "job_version": 1,
        "environment": "production",
        "trigger": "MANUAL",
        "rerun_of": None,
        "retry": None,
        "scheduled_for": None,
        "status": "SUCCEEDED",
        "created_at": at,
        "started_at": at,
        "finished_at": at,
        "pending_duration_ms": 0,
        "run_duration_ms": 0,
        "total_duration_ms": 0,
        "failure_reason": None,
        "error": None,
        "request": {
            "method": "POST",
            "url": jobs.destination.url,
            "headers": {"Authorization": "***"},
            "body": "hello",
            "body_truncated": False,
            "body_bytes": 5,
        },
    }
    headers = result.pop("headers")
    assert result == {"status": 200, "body": "status 200", "body_truncated": False, "body_bytes": 10}
    assert headers["x-served"] == "yes"


async def test_a_failed_run_tells_why(jobs: JobApi) -> None:
    jobs.destination.statuses = [503]
    await jobs.create()
    told = await attributes(jobs, await jobs.run())
    assert (told["status"], told["failure_reason"], told["result"]["status"]) == ("FAILED", "NON_SUCCESS_STATUS", 503)
    assert "answered 503 Service Unavailable" in told["error"]


async def test_a_chain_names_its_first_run(jobs: JobApi) -> None:
    await chain(jobs)
    last, second, first = await jobs.runs()
    assert [each["attributes"]["status"] for each in (first, second, last)] == ["FAILED", "FAILED", "SUCCEEDED"]
    assert [each["attributes"]["retry"] for each in (first, second, last)] == [
        None,
        {"of": first["id"], "attempt": 1},
        {"of": first["id"], "attempt": 2},
    ]
    assert second["attributes"]["scheduled_for"] == "2026-01-01T00:00:10Z"
    assert second["attributes"]["pending_duration_ms"] == second["attributes"]["total_duration_ms"] == 10_000
    assert second["attributes"]["run_duration_ms"] == 0


async def test_a_waiting_retry_is_there_at_once_and_can_be_canceled(jobs: JobApi) -> None:
    jobs.destination.statuses = [500]
    await jobs.policy()
    await jobs.create(retry_policy="again")
    await jobs.run()
    [waiting] = await jobs.runs(**{"filter[status]": "PENDING"})
    assert waiting["attributes"]["trigger"] == "RETRY"
    answer = await jobs("POST", f"{RUNS}/{waiting['id']}/actions/cancel")
    assert (answer.status, answer.json["data"]["attributes"]["status"]) == (200, "CANCELED")
    await jobs.pass_time(600)
    assert jobs.destination.hits == 1
    assert (await jobs.get("/api/v1/usage"))["data"]["attributes"]["runs_used"] == 1, "it never began"


async def test_a_run_under_way_can_be_canceled(jobs: JobApi) -> None:
    arrived = asyncio.Event()

    async def never(_: web.Request) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    jobs.destination.answer = never
    await jobs.policy(retry_on_timeout=True, retry_on_connection_error=True)
    await jobs.create(retry_policy="again")
    run_id = (await jobs("POST", f"{JOBS}/job/actions/run")).json["data"]["id"]
    await arrived.wait()
    assert (await attributes(jobs, run_id))["status"] == "RUNNING"
    answer = await jobs("POST", f"{RUNS}/{run_id}/actions/cancel")
    assert answer.json["data"]["attributes"]["status"] == "CANCELED"
    await jobs.pass_time(600)
    assert len(await jobs.runs()) == 1, "a canceled run is not retried"


async def test_what_has_ended_cannot_be_canceled(jobs: JobApi) -> None:
    await jobs.create()
    run_id = await jobs.run()
    assert (await jobs("POST", f"{RUNS}/{run_id}/actions/cancel")).error["code"] == "conflict"


async def test_a_rerun_names_its_source(jobs: JobApi) -> None:
    await jobs.create()
    run_id = await jobs.run()
    answer = await jobs("POST", f"{RUNS}/{run_id}/actions/rerun")
    assert answer.status == 200
    told = answer.json["data"]["attributes"]
    assert (told["trigger"], told["rerun_of"], told["retry"]) == ("RERUN", run_id, None)
    await jobs.engine.settle()
    assert jobs.destination.hits == 2


async def test_a_rerun_of_a_deleted_job_is_refused(jobs: JobApi) -> None:
    await jobs.create()
    run_id = await jobs.run()
    await jobs("DELETE", f"{JOBS}/job")
    assert (await jobs("POST", f"{RUNS}/{run_id}/actions/rerun")).error["code"] == "conflict"


@pytest.mark.parametrize("run_id", ["00000000-0000-0000-0000-000000000000", "none"])
async def test_unknown_runs_are_404(jobs: JobApi, run_id: str) -> None:
    for method, path in (("GET", ""), ("POST", "/actions/cancel"), ("POST", "/actions/rerun")):
        assert (await jobs(method, f"{RUNS}/{run_id}{path}")).status == 404


async def test_an_id_without_hyphens_is_the_same(jobs: JobApi) -> None:
    await jobs.create()
    run_id = await jobs.run()
    assert (await jobs.get(f"{RUNS}/{UUID(run_id).hex}"))["data"]["id"] == run_id


async def test_runs_of_workflows_are_elsewhere(jobs: JobApi) -> None:
    await jobs.create()
    job_run = await jobs.run()
    assert (await jobs.get("/api/v1/workflow-runs"))["data"] == []
    assert [each["id"] for each in await jobs.runs()] == [job_run]


# -- lists


async def test_lists_are_filtered(jobs: JobApi) -> None:
    await jobs.create("a", environments={"production": {"enabled": True}, "staging": {"enabled": True}})
    await jobs.create("b")
    jobs.destination.statuses = [200, 500, 200]
    for job_id, environment in (("a", "production"), ("a", "staging"), ("b", "production")):
        await jobs.run(job_id, environment)
        await jobs.engine.clock.advance(60)

    async def found(**query: str) -> list[tuple[str, str]]:
        runs = await jobs.runs(**{f"filter[{name}]": value for name, value in query.items()})
        return [(each["attributes"]["job"], each["attributes"]["environment"]) for each in runs]

    assert await found() == [("b", "production"), ("a", "staging"), ("a", "production")]
    assert await found(job="a") == [("a", "staging"), ("a", "production")]
    assert await found(status="FAILED") == [("a", "staging")]
    assert await found(status="FAILED,SUCCEEDED", environment="production") == [
        ("b", "production"),
        ("a", "production"),
    ]
    assert await found(trigger="SCHEDULE,RETRY") == []
    assert await found(created_at="[2026-01-01T00:01:00Z,2026-01-01T00:02:00Z)") == [("a", "staging")]
    assert await found(finished_at="[2026-01-01T00:02:00Z,*)") == [("b", "production")]
    assert await found(scheduled_for="[*,*)".replace("*", "2026-01-01T00:00:00Z", 1)) == []


async def test_lists_are_sorted_with_unset_values_last(jobs: JobApi) -> None:
    await chain(jobs)
    await jobs.create("zeta")
    await jobs.run("zeta")

    async def order(sort: str, name: str) -> list[Any]:
        return [each["attributes"][name] for each in await jobs.runs(sort=sort)]

    first, second = "2026-01-01T00:00:10Z", "2026-01-01T00:00:20Z"
    assert await order("scheduled_for", "scheduled_for") == [first, second, None, None]
    assert await order("-scheduled_for", "scheduled_for") == [second, first, None, None]
    assert await order("job", "job") == ["job", "job", "job", "zeta"]
    assert await order("-status", "status") == ["SUCCEEDED", "SUCCEEDED", "FAILED", "FAILED"]
    assert await order("-total_duration_ms", "total_duration_ms") == [10_000, 10_000, 0, 0]


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "scheduled_for", "-status", "job", "-total_duration_ms"])
async def test_a_cursor_goes_through_all_of_them(jobs: JobApi, sort: str) -> None:
    await chain(jobs)
    await jobs.create("zeta")
    await jobs.run("zeta")
    whole = [each["id"] for each in await jobs.runs(sort=sort)]
    path: str | None = f"{RUNS}?page[size]=1&sort={sort}"
    found: list[str] = []
    while path is not None:
        page = await jobs.get(path)
        assert page["meta"] == {"page_size": 1}
        found += [each["id"] for each in page["data"]]
        path = page["links"]["next"]
    assert found == whole


@pytest.mark.parametrize("sort", ["-created_at", "total_duration_ms", "-scheduled_for", "status"])
async def test_a_page_begins_behind_a_run(jobs: JobApi, sort: str) -> None:
    """The vendor's SDK gives its users runs and no cursors, so a run's id has to do."""
    jobs.destination.statuses = [200, 500, 200, 500]
    await jobs.policy()
    await jobs.create(retry_policy="again")
    for _ in range(4):
        await jobs.run()
    whole = [each["id"] for each in await jobs.runs(sort=sort)]
    for place, run_id in enumerate(whole):
        behind = await jobs.runs(sort=sort, **{"page[after]": run_id.upper()})
        assert [each["id"] for each in behind] == whole[place + 1 :]


async def test_a_page_begins_behind_no_run_that_is_gone_or_out_of_sight(jobs: JobApi) -> None:
    await jobs.create()
    foreign, staging = await jobs.run(), await key(jobs, "read", "staging")
    for run_id in (foreign, "00000000-0000-4000-8000-000000000000"):
        answer = await jobs.api.get(RUNS, params={"page[after]": run_id}, headers=staging)
        assert (answer.status, answer.error["source"]["parameter"]) == (400, "page[after]")


@pytest.mark.parametrize("path", [RUNS, "/api/v1/run_stats", f"{RUNS}/id", f"{RUNS}/id/actions/rerun"])
async def test_a_run_that_is_deleted_while_it_is_read(jobs: JobApi, path: str) -> None:
    """Its retention is over just then, between the list and the logs."""
    jobs.destination.statuses = [500]
    await jobs.create()
    run_id = await jobs.run()
    core = jobs.engine.core
    records, first_records = core.store.records, core.store.first_records

    async def forget() -> None:
        gone: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        core.journal.add(Forget(core.clock.now_us() + 1, 10, after=partial(settle, gone)))
        assert (await gone) == Forgotten(1, 0)

    async def records_behind(runs: Sequence[int]) -> dict[int, list[LogRow]]:
        await forget()
        return await records(runs)

    async def first_behind(runs: Sequence[int]) -> dict[int, LogRow]:
        await forget()
        return await first_records(runs)

    core.store.records = records_behind  # type: ignore[method-assign]  # it is deleted before it is read
    core.store.first_records = first_behind  # type: ignore[method-assign]  # as above
    method = "POST" if path.endswith("rerun") else "GET"
    answer = await jobs(method, path.replace("id", run_id))
    assert answer.status == (404 if "id" in path else 200)
    if path == RUNS:
        assert answer.json["data"] == []


async def test_the_last_completed_run_of_each_job_and_environment(jobs: JobApi) -> None:
    jobs.destination.statuses = [500, 200, 500]
    await jobs.policy()
    await jobs.create(
        retry_policy="again", environments={"production": {"enabled": True}, "staging": {"enabled": True}}
    )
    await jobs.run(environment="production")
    await jobs.run(environment="staging")
    await jobs.pass_time(10)

    async def last(**query: str) -> list[tuple[str, str, str]]:
        runs = [each["attributes"] for each in await jobs.runs(last_run_only="true", **query)]
        return [(each["environment"], each["trigger"], each["status"]) for each in runs]

    production, staging = ("production", "RETRY", "FAILED"), ("staging", "MANUAL", "SUCCEEDED")
    assert await last() == [staging, production], "and not the retry that waits"
    assert await last(**{"filter[trigger]": "MANUAL"}) == [staging, ("production", "MANUAL", "FAILED")]


@pytest.mark.parametrize(
    "query",
    [
        {"filter[status]": "WAITING"},
        {"filter[trigger]": "CHILD"},
        {"filter[created_at]": "yesterday"},
        {"sort": "environment"},
        {"sort": "job,status"},
        {"page[size]": "1001"},
        {"page[after]": "nonsense"},
        {"last_run_only": "yes"},
    ],
)
async def test_bad_parameters_are_refused(jobs: JobApi, query: dict[str, str]) -> None:
    answer = await jobs.api.get(RUNS, params=query)
    assert (answer.status, answer.error["source"]["parameter"]) == (400, next(iter(query)))


async def test_a_key_sees_runs_of_its_environment(jobs: JobApi) -> None:
    await jobs.create(environments={"production": {"enabled": True}, "staging": {"enabled": True}})
    foreign, own = await jobs.run(environment="production"), await jobs.run(environment="staging")
    staging = await key(jobs, "write", "staging")
    listed = (await jobs.api.get(RUNS, headers=staging)).json["data"]
    assert [each["id"] for each in listed] == [own]
    query = {"filter[environment]": "production"}
    assert (await jobs.api.get(RUNS, params=query, headers=staging)).json["data"] == []
    assert (await jobs.api.get(f"{RUNS}/{own}", headers=staging)).status == 200
    assert (await jobs.api.get(f"{RUNS}/{foreign}", headers=staging)).status == 404
    assert (await jobs("POST", f"{RUNS}/{foreign}/actions/rerun", headers=staging)).status == 404
