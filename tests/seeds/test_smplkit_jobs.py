"""The third seed, "Retry policies" of smplkit: what jobs do with a policy, and what its vendor publishes of jobs.

A real server, a real destination over loopback, and a virtual clock. The vendor's own SDK uses the same server in
`tests/acceptance/test_smplkit_sdk.py`.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme
from aiohttp import web

from tests.api.conftest import Launch
from tests.api.job_api import JOBS, RUNS, JobApi, open_job_api
from tests.seeds.checklist import row

pytestmark = pytest.mark.anyio

POLICIES = "/api/v1/retry-policies"
BOTH = {"production": {"enabled": True}, "staging": {"enabled": True}}


@pytest.fixture
async def jobs(launch: Launch) -> AsyncIterator[JobApi]:
    async with open_job_api(launch) as found:
        yield found


async def story(jobs: JobApi, **query: str) -> list[tuple[str, str]]:
    """Trigger and status of the runs, the oldest first."""
    runs = [each["attributes"] for each in await jobs.runs(**query)]
    return [(each["trigger"], each["status"]) for each in reversed(runs)]


async def reason(jobs: JobApi, job_id: str = "job") -> str:
    """Why the newest run of a job failed."""
    [newest, *_] = await jobs.runs(**{"filter[job]": job_id, "filter[status]": "FAILED"})
    found: str = newest["attributes"]["failure_reason"]
    return found


# -- which failures are retried


@row("S-1", "A job that references no policy is never retried")
async def test_without_a_policy_a_failed_run_is_final(jobs: JobApi) -> None:
    jobs.destination.statuses = [500]
    await jobs.create()
    await jobs.run()
    await jobs.pass_time(86_400)
    assert (await story(jobs), jobs.destination.hits) == ([("MANUAL", "FAILED")], 1)


@row("S-2", "the retried runs carry trigger = RETRY (distinct from the manual rerun action)")
async def test_a_retry_is_a_fresh_run_and_no_rerun(jobs: JobApi) -> None:
    jobs.destination.statuses = [500, 200, 200]
    await jobs.policy()
    await jobs.create(retry_policy="again")
    first = await jobs.run()
    await jobs.pass_time(10)
    await jobs("POST", f"{RUNS}/{first}/actions/rerun")
    await jobs.engine.settle()
    assert await story(jobs) == [("MANUAL", "FAILED"), ("RETRY", "SUCCEEDED"), ("RERUN", "SUCCEEDED")]
    assert len({each["id"] for each in await jobs.runs()}) == 3


@row("S-7", "max_retries of 3 means up to 4 attempts in total")
async def test_three_retries_are_four_runs(jobs: JobApi) -> None:
    jobs.destination.statuses = [500]
    await jobs.policy(max_retries=3)
    await jobs.create(retry_policy="again")
    await jobs.run()
    for _ in range(10):
        await jobs.pass_time(10)
    assert jobs.destination.hits == 4
    assert await story(jobs) == [("MANUAL", "FAILED"), *[("RETRY", "FAILED")] * 3]


async def unreachable(kind: str, jobs: JobApi) -> tuple[dict[str, Any], Any]:
    """A configuration whose destination cannot be reached, and what has to be closed afterwards."""
    if kind == "dns":
        return {"url": "http://nobody.invalid/"}, None
    if kind == "tls":
        return {"url": jobs.destination.url.replace("http:", "https:")}, None
    if kind == "certificate":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate: Any = trustme.CA().issue_cert("localhost", "127.0.0.1")  # the package does not say all types
        certificate.configure_cert(context)
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=context)
        return {"url": f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"}, server
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if kind == "refused":
        server.close()
    return {"url": f"http://127.0.0.1:{port}/"}, server


@row("S-14", "whose destination could not be reached (DNS, refused connection, TLS, or transport error)")
@pytest.mark.parametrize("opted_in", [False, True])
@pytest.mark.parametrize("kind", ["dns", "refused", "tls", "certificate", "transport"])
async def test_unreachable_destinations(jobs: JobApi, kind: str, opted_in: bool) -> None:
    await jobs.policy(retry_on_connection_error=opted_in, max_retries=1)
    request, server = await unreachable(kind, jobs)
    try:
        await jobs.create(request=request, retry_policy="again")
        await jobs.run()
        await jobs.pass_time(10)
    finally:
        if server is not None:
            server.close()
    assert await reason(jobs) == "CONNECTION_ERROR"
    assert len(await jobs.runs()) == 1 + opted_in


@row("S-22", "when a run failed because the response did not match the job's success status")
async def test_a_status_that_is_a_success_is_not_retried(jobs: JobApi) -> None:
    jobs.destination.statuses = [404]
    await jobs.policy(retry_statuses=["404"])
    await jobs.create("wanted", request={"success_status": "404"}, retry_policy="again")
    await jobs.create("unwanted", retry_policy="again")
    await jobs.run("wanted")
    await jobs.run("unwanted")
    assert await story(jobs, **{"filter[job]": "wanted"}) == [("MANUAL", "SUCCEEDED")]
    assert await story(jobs, **{"filter[job]": "unwanted"}) == [("MANUAL", "FAILED"), ("RETRY", "PENDING")]


EVERYTHING: dict[str, Any] = {
    "retry_on_timeout": True,
    "retry_on_connection_error": True,
    "retry_statuses": ["1xx", "2xx", "3xx", "4xx", "5xx"],
}


@row("S-23", "Some failures are never retried regardless of the policy.")
@pytest.mark.parametrize("expected", ["SSRF_BLOCKED", "QUOTA_EXCEEDED", "WORKER_LOST"])
async def test_what_is_never_retried(launch: Launch, expected: str) -> None:
    quota = {"quota": 0} if expected == "QUOTA_EXCEEDED" else {}
    async with open_job_api(launch, **quota) as jobs:
        await jobs.policy(**EVERYTHING)
        request = {"url": "http://10.0.0.1/"} if expected == "SSRF_BLOCKED" else {}
        await jobs.create(request=request, retry_policy="again")
        if expected == "WORKER_LOST":
            arrived = asyncio.Event()

            async def hang(_: web.Request) -> web.Response:
                arrived.set()
                await asyncio.Event().wait()
                raise AssertionError

            jobs.destination.answer = hang
            await jobs("POST", f"{JOBS}/job/actions/run")
            await arrived.wait()
            await jobs.engine.restart()
        else:
            await jobs.run()
        await jobs.pass_time(86_400)
        assert await story(jobs) == [("MANUAL", "FAILED")]
        assert await reason(jobs) == expected


# -- attaching a policy to a job


@row("S-32", "Set the job's retry_policy attribute to a policy id, and override it per environment with the same key")
async def test_an_environments_policy_wins(jobs: JobApi) -> None:
    jobs.destination.statuses = [500]
    await jobs.policy("once", max_retries=1)
    await jobs.policy("never", max_retries=0)
    environments = {"production": {"enabled": True}, "staging": {"enabled": True, "retry_policy": "never"}}
    await jobs.create(retry_policy="once", environments=environments)
    await jobs.run(environment="production")
    await jobs.run(environment="staging")
    assert len(await jobs.runs(**{"filter[environment]": "production"})) == 2
    assert len(await jobs.runs(**{"filter[environment]": "staging"})) == 1


@row("S-33", "omitted inherits the job's base retry_policy; an absent base means the job references no policy")
async def test_an_omitted_override_inherits(jobs: JobApi) -> None:
    jobs.destination.statuses = [500]
    await jobs.policy()
    await jobs.create("with", retry_policy="again", environments=BOTH)
    await jobs.create("without", environments=BOTH)
    for job_id, expected in (("with", 2), ("without", 1)):
        await jobs.run(job_id, "staging")
        assert len(await jobs.runs(**{"filter[job]": job_id})) == expected


@row("S-34", "A per-environment override must name a real policy id - there is no null override")
@pytest.mark.parametrize("override", [None, "nobody", 5])
async def test_an_override_names_a_real_policy(jobs: JobApi, override: Any) -> None:
    environments = {"staging": {"enabled": True, "retry_policy": override}}
    answer = await jobs.write("POST", JOBS, "job", jobs.attributes(environments=environments))
    assert (answer.status, answer.error["source"]["pointer"]) == (
        400,
        "/data/attributes/environments/staging/retry_policy",
    )


@row("S-35", "Production inherits retry-on-5xx while staging uses the zero-retry no-retries policy.")
async def test_the_example_of_the_seed(jobs: JobApi) -> None:
    jobs.destination.statuses = [500]
    await jobs.policy("retry-on-5xx", max_retries=5, backoff="exponential", delay_seconds=2, max_delay_seconds=60)
    await jobs.policy("no-retries", max_retries=0)
    await jobs.create(
        retry_policy="retry-on-5xx",
        environments={
            "production": {"enabled": True},
            "staging": {"enabled": True, "retry_policy": "no-retries"},
        },
    )
    await jobs.run(environment="production")
    await jobs.run(environment="staging")
    for wait in (2, 4, 8, 16, 32):
        await jobs.pass_time(wait)
    assert await story(jobs, **{"filter[environment]": "staging"}) == [("MANUAL", "FAILED")]
    assert await story(jobs, **{"filter[environment]": "production"}) == [
        ("MANUAL", "FAILED"),
        *[("RETRY", "FAILED")] * 5,
    ]


# -- what the vendor publishes of jobs and runs


@row("S-37", "retry: {of: the chain's original run, attempt: 1..}; scheduled_for is null for manual and rerun")
async def test_retries_name_their_origin(jobs: JobApi) -> None:
    jobs.destination.statuses = [500]
    await jobs.policy(max_retries=2)
    await jobs.create(retry_policy="again")
    first = await jobs.run()
    await jobs.pass_time(10)
    await jobs.pass_time(10)
    runs = [each["attributes"] for each in reversed(await jobs.runs())]
    assert [each["retry"] for each in runs] == [None, {"of": first, "attempt": 1}, {"of": first, "attempt": 2}]
    assert [each["scheduled_for"] for each in runs] == [None, "2026-01-01T00:00:10Z", "2026-01-01T00:00:20Z"]


@row("S-38", "DELETE: 409 while any job references it, errors[0].meta.referencing_jobs = [ids]")
async def test_a_policy_in_use_cannot_be_deleted(jobs: JobApi) -> None:
    await jobs.policy()
    await jobs.create("base", retry_policy="again")
    await jobs.create("override", environments={"staging": {"enabled": True, "retry_policy": "again"}})
    answer = await jobs("DELETE", f"{POLICIES}/again")
    assert (answer.status, sorted(answer.error["meta"]["referencing_jobs"])) == (409, ["base", "override"])
    jobs.destination.statuses = [500]
    run_id = await jobs.run("base")
    for job_id in ("base", "override"):
        assert (await jobs("DELETE", f"{JOBS}/{job_id}")).status == 204
    assert (await jobs("DELETE", f"{POLICIES}/again")).status == 204
    assert (await jobs("GET", f"{POLICIES}/again")).status == 404
    assert (await jobs("GET", f"{RUNS}/{run_id}")).status == 200, "run history is retained"
    await jobs.policy()
    await jobs.create("base", retry_policy="again")


@row("S-39", "version starts 1, +1 on every update; page[..], meta[total], sort; out of range => 400")
async def test_versions_and_lists(jobs: JobApi) -> None:
    for job_id, name in (("a", "beta"), ("b", "alpha")):
        created = await jobs.create(job_id, name=name)
        assert created["attributes"]["version"] == 1
    changed = await jobs.write("PUT", f"{JOBS}/a", "a", jobs.attributes(name="gamma"))
    assert changed.json["data"]["attributes"]["version"] == 2
    for sort, expected in (("name", ["b", "a"]), ("-name", ["a", "b"]), ("created_at", ["a", "b"])):
        document = await jobs.get(f"{JOBS}?sort={sort}&page[size]=1000&meta[total]=true")
        assert [each["id"] for each in document["data"]] == expected
        assert document["meta"]["pagination"] == {"page": 1, "size": 1000, "total": 2, "total_pages": 1}
    for query in ("page[size]=0", "page[size]=1001", "page[number]=0", "sort=color", "meta[total]=maybe"):
        assert (await jobs("GET", f"{JOBS}?{query}")).status == 400


@row("S-40", "run, rerun, cancel, usage, run_stats, last_run_only")
async def test_actions_and_numbers(jobs: JobApi) -> None:
    jobs.destination.statuses = [500, 500, 200]
    await jobs.policy(max_retries=1)
    await jobs.create(retry_policy="again")
    first = await jobs.run()
    [waiting] = await jobs.runs(**{"filter[status]": "PENDING"})
    assert (await jobs("POST", f"{RUNS}/{waiting['id']}/actions/cancel")).status == 200
    assert (await jobs("POST", f"{RUNS}/{first}/actions/cancel")).status == 409
    rerun = await jobs("POST", f"{RUNS}/{first}/actions/rerun")
    assert (rerun.status, rerun.json["data"]["attributes"]["rerun_of"]) == (200, first)
    await jobs.engine.settle()
    await jobs.pass_time(10)
    assert await story(jobs) == [
        ("MANUAL", "FAILED"),
        ("RETRY", "CANCELED"),
        ("RERUN", "FAILED"),
        ("RETRY", "SUCCEEDED"),
    ]
    [last] = await jobs.runs(last_run_only="true")
    assert last["attributes"]["trigger"] == "RETRY"
    usage = (await jobs.get("/api/v1/usage?filter[period]=current"))["data"]
    assert usage["id"] == "current"
    assert (usage["attributes"]["runs_used"], usage["attributes"]["runs_included"]) == (3, -1)
    assert usage["attributes"]["tasks_used"] == 2, "one for each chain"
    stats = (await jobs.get("/api/v1/run_stats"))["data"]["attributes"]
    assert stats["total"] == 4


@row("S-41", "request snapshot redacts header values; result body cut at 64 KiB with body_truncated, body_bytes")
async def test_snapshots(jobs: JobApi) -> None:
    async def much(_: web.Request) -> web.Response:
        return web.Response(text="x" * 100_000)

    jobs.destination.answer = much
    await jobs.create(request={"headers": {"Authorization": "Bearer s3cr3t"}, "body": "hello"})
    run_id = await jobs.run()
    answer = await jobs.api.get(f"{RUNS}/{run_id}")
    assert "s3cr3t" not in answer.text
    attributes = answer.json["data"]["attributes"]
    assert list(attributes["request"]["headers"]) == ["Authorization"]
    result = attributes["result"]
    assert (len(result["body"]), result["body_truncated"], result["body_bytes"]) == (65_536, True, 100_000)
    assert jobs.destination.requests[0].headers["Authorization"] == "Bearer s3cr3t"


@row("S-42", "null => manual, 5-field cron => recurring, datetime or now => one_off; one run per environment")
async def test_kinds_and_schedules(jobs: JobApi) -> None:
    at = "2026-01-01T06:00:00Z"
    kinds = {"by-hand": None, "nightly": "30 2 * * *", "once": at}
    for job_id, schedule in kinds.items():
        timezone = {"timezone": "Europe/Berlin"} if job_id == "nightly" else {}
        await jobs.create(job_id, schedule=schedule, environments=BOTH, **timezone)
    shown = {each["id"]: each["attributes"]["kind"] for each in (await jobs.get(JOBS))["data"]}
    assert shown == {"by-hand": "manual", "nightly": "recurring"}, "one-off jobs are hidden unless asked for"
    [once] = (await jobs.get(f"{JOBS}?filter[kind]=one_off"))["data"]
    assert once["attributes"]["environments"]["staging"]["next_run_at"] == at
    await jobs.pass_time(86_400)
    runs = [each["attributes"] for each in reversed(await jobs.runs())]
    assert {each["trigger"] for each in runs} == {"SCHEDULE"}
    fired = sorted((each["job"], each["environment"], each["scheduled_for"]) for each in runs)
    night = "2026-01-01T01:30:00Z"  # half past two in Berlin, in winter
    assert fired == [
        ("nightly", "production", night),
        ("nightly", "staging", night),
        ("once", "production", at),
        ("once", "staging", at),
    ]
