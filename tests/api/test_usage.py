"""`/api/v1/usage` and `/api/v1/task-usage`: what was used."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from durably import RetryPolicy, step, workflow
from durably.testing import TestEngine
from tests.api.conftest import Api, Launch
from tests.api.job_api import JobApi, open_job_api
from tests.api.test_jobs import key

pytestmark = pytest.mark.anyio

PATH = "/api/v1/usage"
TASKS = "/api/v1/task-usage"
DAY = 86_400


@pytest.fixture
async def jobs(launch: Launch) -> AsyncIterator[JobApi]:
    async with open_job_api(launch) as found:
        yield found


async def usage(jobs: JobApi) -> dict[str, Any]:
    data = (await jobs.get(PATH))["data"]
    assert (data["type"], data["id"]) == ("usage", "current")
    found: dict[str, Any] = data["attributes"]
    return found


async def test_runs_of_the_month_are_counted_and_jobs_that_stay(jobs: JobApi) -> None:
    await jobs.create("manual")
    await jobs.create("nightly", schedule="0 2 1 1 *")
    await jobs.create("once", schedule="2026-06-01T00:00:00Z")
    await jobs.run("manual")
    await jobs.run("manual")
    assert await usage(jobs) == {
        "period": "2026-01",
        "runs_used": 2,
        "tasks_used": 2,
        "runs_included": -1,
        "active_jobs": 2,
        "active_jobs_limit": -1,
    }
    await jobs.pass_time(31 * DAY)
    assert {**await usage(jobs), "runs_used": 0, "tasks_used": 0, "period": "2026-02"} == await usage(jobs)


async def test_a_quota_is_told(launch: Launch) -> None:
    async with open_job_api(launch, quota=100) as jobs:
        assert (await usage(jobs))["runs_included"] == 100


async def test_every_retry_is_a_run(jobs: JobApi) -> None:
    jobs.destination.statuses = [500, 500, 200]
    await jobs.policy()
    await jobs.create(retry_policy="again")
    await jobs.run()
    await jobs.pass_time(10)
    await jobs.pass_time(10)
    assert (await usage(jobs))["runs_used"] == 3
    [used] = (await jobs.get(TASKS))["data"]
    assert (used["attributes"]["workflow"], used["attributes"]["runs"], used["attributes"]["tasks"]) == (
        "durably.job",
        3,
        1,
    )


@pytest.mark.parametrize(("query", "status"), [("current", 200), ("2025-01", 400)])
async def test_there_is_only_the_current_period(jobs: JobApi, query: str, status: int) -> None:
    assert (await jobs.api.get(PATH, params={"filter[period]": query})).status == status


# -- tasks


@step(retry=RetryPolicy(3, backoff="fixed", delay=1, jitter=0))
async def flaky(name: str) -> str:
    return name


@workflow
async def one() -> None:
    await flaky("a")


@workflow
async def two() -> None:
    await flaky("a")
    await flaky("b")


@pytest.fixture
async def used(launch: Launch) -> Api:
    """Three runs of `one` and one of `two`, over two days and two environments."""
    engine = TestEngine([one, two])
    api = await launch(engine)
    engine.mock(flaky, returns="a", raises=[ValueError("once"), None, None, None, None, None])
    for definition in (one, two, one.options(environment="staging")):
        await (await engine.start(definition)).result()
    await engine.clock.advance(DAY)
    await (await engine.start(one)).result()
    return api


async def found(api: Api, **query: str) -> list[tuple[Any, ...]]:
    answer = await api.get(TASKS, params=query)
    assert answer.status == 200, answer.text
    rows = [each["attributes"] for each in answer.json["data"]]
    return [(row["day"], row["environment"], row["workflow"], row["runs"], row["tasks"]) for row in rows]


FIRST_ONE = ("2026-01-01", "production", "one", 1, 1)
FIRST_TWO = ("2026-01-01", "production", "two", 1, 2)
STAGING = ("2026-01-01", "staging", "one", 1, 1)
SECOND_ONE = ("2026-01-02", "production", "one", 1, 1)


async def test_tasks_are_steps_however_many_attempts_each_took(used: Api) -> None:
    assert await found(used) == [SECOND_ONE, FIRST_ONE, FIRST_TWO, STAGING]


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ({"filter[workflow]": "two"}, [FIRST_TWO]),
        ({"filter[workflow]": "one,two", "filter[environment]": "staging"}, [STAGING]),
        ({"filter[day]": "[2026-01-02,*)"}, [SECOND_ONE]),
        ({"filter[day]": "(2026-01-01,2026-01-02]"}, [SECOND_ONE]),
        ({"filter[day]": "[*,2026-01-02)", "sort": "-tasks,workflow"}, [FIRST_TWO, FIRST_ONE, STAGING]),
        ({"sort": "day,-workflow", "page[size]": "1"}, [FIRST_TWO]),
    ],
)
async def test_usage_is_filtered_and_sorted(used: Api, query: dict[str, str], rows: list[Any]) -> None:
    assert await found(used, **query) == rows


async def test_runs_of_workflows_are_none_of_jobs(used: Api) -> None:
    assert (await used.get(PATH)).json["data"]["attributes"]["runs_used"] == 0


async def test_each_has_an_id_of_its_own(used: Api) -> None:
    ids = [each["id"] for each in (await used.get(TASKS)).json["data"]]
    assert ids[0] == "2026-01-02/production/one"
    assert len(set(ids)) == 4


@pytest.mark.parametrize("days", ["2026-01-01", "[2026-13-01,*)", "[2026-01-01T00:00:00Z,*)", "[,]"])
async def test_what_is_no_interval_of_days_is_refused(used: Api, days: str) -> None:
    answer = await used.get(TASKS, params={"filter[day]": days})
    assert (answer.status, answer.error["source"]["parameter"]) == (400, "filter[day]")


async def test_a_key_sees_what_its_environment_has_used(jobs: JobApi) -> None:
    await jobs.create()
    await jobs.run()
    staging = await key(jobs, "read", "staging")
    assert (await jobs.api.get(TASKS, headers=staging)).json["data"] == []
