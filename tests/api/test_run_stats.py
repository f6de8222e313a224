"""`/api/v1/run_stats`: runs of jobs at a glance."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.conftest import Launch
from tests.api.job_api import JOBS, JobApi, open_job_api
from tests.api.test_jobs import key

pytestmark = pytest.mark.anyio

PATH = "/api/v1/run_stats"


@pytest.fixture
async def jobs(launch: Launch) -> AsyncIterator[JobApi]:
    async with open_job_api(launch) as found:
        yield found


async def stats(jobs: JobApi, **query: str) -> dict[str, Any]:
    data = (await jobs.get(PATH, params=query))["data"]
    assert (data["type"], data["id"]) == ("run_stat", "current")
    found: dict[str, Any] = data["attributes"]
    return found


async def test_of_no_runs_there_is_nothing(jobs: JobApi) -> None:
    assert await stats(jobs) == {
        "total": 0,
        "tally": {"pending": 0, "running": 0, "succeeded": 0, "failed": 0, "canceled": 0},
        "buckets": None,
        "recent_failures": [],
        "next_scheduled": None,
    }
    assert (await stats(jobs, bucket="1h"))["buckets"] == []


async def test_runs_are_counted_by_status_and_time(jobs: JobApi) -> None:
    jobs.destination.statuses = [200, 500, 500, 500, 500]
    await jobs.create(name="Hourly")
    for _ in range(5):
        await jobs.run()
        await jobs.engine.clock.advance(1800)
    found = await stats(jobs, bucket="1h")
    assert found["total"] == 5
    assert found["tally"] == {"pending": 0, "running": 0, "succeeded": 1, "failed": 4, "canceled": 0}
    assert found["buckets"] == [
        {"bucket": "2026-01-01T00:00:00Z", "count": 2},
        {"bucket": "2026-01-01T01:00:00Z", "count": 2},
        {"bucket": "2026-01-01T02:00:00Z", "count": 1},
    ]
    assert found["recent_failures"] == [
        {
            "job": "job",
            "job_name": "Hourly",
            "failure_reason": "NON_SUCCESS_STATUS",
            "created_at": f"2026-01-01T{at}:00Z",
        }
        for at in ("02:00", "01:30", "01:00")
    ]
    one = await stats(jobs, **{"filter[created_at]": "[2026-01-01T00:30:00Z,2026-01-01T01:00:00Z)"})
    assert (one["total"], one["tally"]["failed"], len(one["recent_failures"])) == (1, 1, 1)
    assert (await stats(jobs, **{"filter[environment]": "staging"}))["total"] == 0


async def test_what_comes_next_is_a_schedule_or_a_retry(jobs: JobApi) -> None:
    jobs.destination.statuses = [500]
    await jobs.policy(delay_seconds=7200)
    staging = {"staging": {"enabled": True}}
    await jobs.create("nightly", name="Nightly", schedule="0 1 * * *")
    await jobs.create("manual", name="Manual", retry_policy="again", environments=staging)
    await jobs.run("manual")
    nightly = {
        "job": "nightly",
        "job_name": "Nightly",
        "scheduled_for": "2026-01-01T01:00:00Z",
        "environment": "production",
    }
    retry = {"job": "manual", "job_name": "Manual", "scheduled_for": "2026-01-01T02:00:00Z", "environment": "staging"}
    assert (await stats(jobs))["next_scheduled"] == nightly
    assert (await stats(jobs, **{"filter[environment]": "staging"}))["next_scheduled"] == retry
    passed = {"filter[created_at]": "[2027-01-01T00:00:00Z,*)"}
    assert (await stats(jobs, **passed))["next_scheduled"] == nightly, "the interval does not concern it"
    await jobs("DELETE", f"{JOBS}/nightly")
    assert (await stats(jobs))["next_scheduled"] == retry


async def test_a_deleted_job_has_no_name(jobs: JobApi) -> None:
    jobs.destination.statuses = [500]
    await jobs.create()
    await jobs.run()
    await jobs("DELETE", f"{JOBS}/job")
    [failure] = (await stats(jobs))["recent_failures"]
    assert (failure["job"], failure["job_name"]) == ("job", None)


@pytest.mark.parametrize("query", [{"bucket": "2h"}, {"filter[created_at]": "today"}, {"filter[job]": "job"}])
async def test_bad_parameters_are_refused(jobs: JobApi, query: dict[str, str]) -> None:
    assert (await jobs.api.get(PATH, params=query)).error["source"]["parameter"] == next(iter(query))


async def test_a_key_counts_its_own_environment(jobs: JobApi) -> None:
    await jobs.create(environments={"production": {"enabled": True}, "staging": {"enabled": True}})
    await jobs.run(environment="production")
    staging = await key(jobs, "read", "staging")
    for query in ({}, {"filter[environment]": "production", "bucket": "1d"}):
        answer = await jobs.api.get(PATH, params=query, headers=staging)
        assert answer.json["data"]["attributes"]["total"] == 0
