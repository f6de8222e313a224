"""Jobs at work on a virtual clock: schedules, retry chains, and what changes do to both. The destination is real."""

import asyncio
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from durably.engine.errors import RunConflict
from durably.engine.execution.documents import DocumentConflict
from durably.engine.jobs.flaws import Invalid
from durably.engine.jobs.jobs import JobNotFound
from durably.engine.log.records import JobRun, RunCreated, from_us
from durably.engine.policies.policies import PolicyInUse
from durably.engine.testing import VirtualClock
from durably.store import DocumentRow, RunRow
from tests.destination import Destination
from tests.engine.jobs.conftest import Desk

pytestmark = pytest.mark.anyio

HOUR = 3600
DAY = 24 * HOUR
NIGHTLY = "0 2 * * *"


async def pass_time(desk: Desk, seconds: float) -> None:
    """Let time pass, a step at a time, so that requests that are under way end within it."""
    await desk.engine.clock.advance(seconds)
    await desk.engine.settle()


async def downtime(desk: Desk, seconds: int) -> None:
    """Time that passes while no engine runs."""
    clock = desk.engine.core.clock
    assert isinstance(clock, VirtualClock)
    await desk.engine.core.abandon()
    clock.jump(clock.now_us() + seconds * 1_000_000)
    await desk.engine.restart()
    await pass_time(desk, 0)


def times(desk: Desk, job_id: str = "job") -> dict[str, str | None]:
    """When it fires next in each environment."""
    jobs = desk.engine.core.jobs
    job = jobs.get(job_id)
    found = jobs.next_runs_us(job)
    return {
        name: from_us(found[name]).strftime("%m-%d %H:%M") if name in found else None
        for name in job.fields.environments
    }


async def job_run(desk: Desk, row: RunRow) -> JobRun:
    created = await desk.created(row)
    assert created.job is not None
    return created.job


# -- the registry


@pytest.mark.parametrize("first", ["create", "delete"])
async def test_a_policy_is_not_deleted_beside_a_job_that_comes_to_name_it(desk: Desk, first: str) -> None:
    await desk.policy()
    creating, deleting = partial(desk.create, retry_policy="again"), partial(desk.engine.core.policies.delete, "again")
    order = (creating, deleting) if first == "create" else (deleting, creating)
    results = await asyncio.gather(*(each() for each in order), return_exceptions=True)
    assert type(results[1]) is (PolicyInUse if first == "create" else Invalid)
    assert not isinstance(results[0], BaseException)


@pytest.mark.parametrize("change", ["create", "replace", "delete"])
async def test_a_change_goes_on_when_who_asked_for_it_has_gone(desk: Desk, change: str) -> None:
    if change != "create":
        await desk.create(name="before")
    asked = {
        "create": partial(desk.create, name="behind"),
        "replace": partial(desk.replace, name="behind"),
        "delete": partial(desk.engine.core.jobs.delete, "job"),
    }
    asking = asyncio.ensure_future(asked[change]())
    while desk.engine.core.journal.committer.idle:  # noqa: ASYNC110 - the engine has no event for it
        await asyncio.sleep(0)
    asking.cancel()
    await desk.engine.settle()
    found = desk.engine.core.jobs.find("job")
    assert (found and found.fields.name) == (None if change == "delete" else "behind")


@pytest.mark.parametrize("kind", ["job", "policy"])
async def test_what_is_written_while_all_is_read_again_stays(desk: Desk, kind: str) -> None:
    """As after an outage: what was read before the write must not take it back."""
    core, read, go_on = desk.engine.core, asyncio.Event(), asyncio.Event()
    await desk.create()
    await desk.policy()
    documents = core.store.documents

    async def slowly(kind: str) -> list[DocumentRow]:
        found = await documents(kind)
        read.set()
        await go_on.wait()
        return found

    core.store.documents = slowly  # type: ignore[method-assign]  # a read that takes its time, as on a file
    reading = asyncio.ensure_future(core.jobs.load() if kind == "job" else core.policies.load())
    await read.wait()
    core.store.documents = documents  # type: ignore[method-assign]  # as it was
    writing = asyncio.ensure_future(desk.replace(name="new") if kind == "job" else desk.policy(name="new"))
    for _ in range(20):
        await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(reading, writing)
    found = core.jobs.get("job") if kind == "job" else core.policies.get("again")
    assert (found.fields.name, found.row.version) == ("new", 2)


async def test_a_job_is_found_again_after_a_restart(desk: Desk) -> None:
    created = await desk.create(schedule=NIGHTLY)
    await desk.engine.restart()
    assert desk.engine.core.jobs.get("job") == created
    assert times(desk) == {"production": "01-01 02:00"}


async def test_one_id_is_one_job_until_it_is_deleted(desk: Desk) -> None:
    first = await desk.create()
    with pytest.raises(DocumentConflict):
        await desk.create()
    await desk.engine.core.jobs.delete("job")
    with pytest.raises(JobNotFound):
        desk.engine.core.jobs.get("job")
    with pytest.raises(JobNotFound):
        await desk.engine.core.jobs.delete("job")
    with pytest.raises(JobNotFound):
        await desk.replace()
    await desk.engine.clock.advance(1)
    again = await desk.create()
    assert (again.row.version, first.row.version) == (1, 1)
    assert again.born_us > first.born_us


async def test_versions_count_changes(desk: Desk) -> None:
    await desk.create(description="old")
    await desk.engine.clock.advance(1)
    changed = await desk.replace()
    assert changed.row.version == 2
    assert changed.row.updated_us > changed.row.created_us
    assert changed.fields.description is None, "what is left out goes back to its default"


async def test_a_job_may_only_name_what_is_there(desk: Desk) -> None:
    with pytest.raises(Invalid) as refused:
        await desk.create(retry_policy="again", environments={"mars": {"enabled": True}})
    assert [flaw.pointer for flaw in refused.value.flaws] == ["/retry_policy", "/environments/mars"]
    await desk.policy()
    now_us = desk.engine.core.clock.now_us()
    mars = DocumentRow(kind="environment", id="mars", body=b"{}", created_us=now_us, updated_us=now_us)
    await desk.engine.core.documents.save(mars)
    await desk.create(retry_policy="again", environments={"mars": {"enabled": True}})


async def test_a_policy_that_a_job_names_cannot_be_deleted(desk: Desk) -> None:
    await desk.policy("base")
    await desk.policy("override")
    await desk.create("b", retry_policy="base")
    await desk.create("a", environments={"staging": {"retry_policy": "override"}})
    policies = desk.engine.core.policies
    for policy_id, job_id in (("base", "b"), ("override", "a")):
        with pytest.raises(PolicyInUse) as refused:
            await policies.delete(policy_id)
        assert refused.value.jobs == [job_id]
    await desk.engine.core.jobs.delete("b")
    await policies.delete("base")
    with pytest.raises(Invalid):
        await desk.create("c", retry_policy="base")


async def test_who_sees_one_environment_changes_only_that_one(desk: Desk) -> None:
    jobs = desk.engine.core.jobs
    await desk.create(environments={"staging": {"enabled": True, "timeout": 5}, "production": {"enabled": True}})
    job = await jobs.replace("job", desk.attributes(environments={"production": {}}), "production")
    assert job.fields.environments["staging"].flat() == {"enabled": True, "timeout": 5}
    assert job.fields.environments["production"].flat() == {}
    with pytest.raises(Invalid):
        await jobs.replace("job", desk.attributes(environments={"staging": {}}), "production")


async def test_what_they_write_has_to_go_with_what_they_do_not_see(desk: Desk) -> None:
    staging = {"enabled": True, "schedule": "0 4 * * *"}
    await desk.create(schedule=NIGHTLY, environments={"staging": staging, "production": {"enabled": True}})
    with pytest.raises(Invalid) as refused:
        await desk.engine.core.jobs.replace("job", desk.attributes(environments={}), "production")
    assert [flaw.pointer for flaw in refused.value.flaws] == ["/environments/staging/schedule"]
    assert times(desk) == {"staging": "01-01 04:00", "production": "01-01 02:00"}


# -- schedules


async def test_a_recurring_job_fires_in_each_environment_on_its_own_schedule(
    desk: Desk, destination: Destination
) -> None:
    environments = {
        "production": {"enabled": True},
        "staging": {"enabled": True, "schedule": "30 2 * * *", "timezone": "Europe/Berlin"},
        "development": {"schedule": "* * * * *"},
    }
    await desk.create(schedule=NIGHTLY, environments=environments)
    assert times(desk) == {"production": "01-01 02:00", "staging": "01-01 01:30", "development": None}
    await pass_time(desk, 1.5 * HOUR)
    await pass_time(desk, HOUR)
    rows = await desk.runs()
    assert [(row.environment, row.trigger, row.status) for row in rows] == [
        ("staging", "SCHEDULE", "SUCCEEDED"),
        ("production", "SCHEDULE", "SUCCEEDED"),
    ]
    assert [from_us(row.scheduled_us or 0).strftime("%H:%M") for row in rows] == ["01:30", "02:00"]
    assert times(desk) == {"production": "01-02 02:00", "staging": "01-02 01:30", "development": None}
    assert destination.hits == 2


async def test_the_time_at_which_a_job_is_made_is_not_one_of_its_own(desk: Desk, destination: Destination) -> None:
    await desk.create(schedule="0 0 * * *")
    await pass_time(desk, 0)
    assert (times(desk), destination.hits) == ({"production": "01-02 00:00"}, 0)


async def test_an_edit_keeps_the_cadence_unless_it_changes_it(desk: Desk) -> None:
    await desk.create(schedule="0 */6 * * *")
    await pass_time(desk, 5 * HOUR)
    await desk.replace(schedule="0 */6 * * *", name="another name")
    assert times(desk) == {"production": "01-01 06:00"}
    await desk.replace(schedule="0 */4 * * *")
    assert times(desk) == {"production": "01-01 08:00"}
    await desk.replace(schedule="0 */4 * * *", timezone="Asia/Kolkata")
    assert times(desk) == {"production": "01-01 06:30"}


async def test_a_job_that_is_switched_off_and_on_fires_from_then_on(desk: Desk, destination: Destination) -> None:
    await desk.create(schedule=NIGHTLY)
    await desk.replace(schedule=NIGHTLY, environments={"production": {"enabled": False}})
    assert times(desk) == {"production": None}
    await pass_time(desk, 3 * DAY)
    await desk.replace(schedule=NIGHTLY)
    assert times(desk) == {"production": "01-04 02:00"}
    assert destination.hits == 0


async def test_a_manual_job_never_fires_by_itself(desk: Desk, destination: Destination) -> None:
    await desk.create()
    await pass_time(desk, 400 * DAY)
    assert destination.hits == 0


@pytest.mark.parametrize(("catch_up", "scheduled"), [("once", [3]), ("skip", []), ("all", [1, 2, 3])])
async def test_times_missed_during_downtime_are_caught_up_as_the_job_says(
    desk: Desk, catch_up: str, scheduled: list[int]
) -> None:
    await desk.create(schedule=NIGHTLY, catch_up=catch_up)
    await downtime(desk, 3 * DAY)
    assert [from_us(row.scheduled_us or 0).day for row in await desk.runs()] == scheduled
    assert times(desk) == {"production": "01-04 02:00"}


async def test_a_one_off_runs_once_where_it_is_named(desk: Desk, destination: Destination) -> None:
    environments: dict[str, Any] = {"production": {}, "staging": {"enabled": False}}
    await desk.create(schedule="2026-01-01T05:00:00Z", environments=environments)
    assert times(desk) == {"production": "01-01 05:00", "staging": "01-01 05:00"}
    await pass_time(desk, 5 * HOUR)
    assert sorted(row.environment for row in await desk.runs()) == ["production", "staging"]
    assert times(desk) == {"production": None, "staging": None}
    job = desk.engine.core.jobs.get("job")
    assert desk.engine.core.jobs.enabled_in(job) == [], "it disables itself"
    await desk.engine.restart()
    await pass_time(desk, 400 * DAY)
    assert destination.hits == 2


async def test_now_is_at_once_and_writing_it_back_is_no_second_time(desk: Desk, destination: Destination) -> None:
    environments: dict[str, Any] = {"production": {}}
    await desk.create(schedule="now", environments=environments)
    await pass_time(desk, 0)
    assert await desk.story() == [("SCHEDULE", "SUCCEEDED")]
    await pass_time(desk, 10)
    await desk.replace(schedule="now", environments=environments, name="renamed")
    await pass_time(desk, 10)
    assert destination.hits == 1
    await desk.replace(schedule="now", environments={**environments, "staging": {}})
    await pass_time(desk, 10)
    assert [row.environment for row in await desk.runs()] == ["production", "staging"]


async def test_a_one_off_that_was_due_during_downtime_is_late_and_not_lost(desk: Desk) -> None:
    await desk.create(schedule="2026-01-01T05:00:00Z", environments={"production": {}})
    await downtime(desk, DAY)
    [row] = await desk.runs()
    assert from_us(row.scheduled_us or 0).hour == 5


async def test_a_deleted_jobs_schedule_is_gone(desk: Desk, destination: Destination) -> None:
    await desk.create(schedule=NIGHTLY)
    await desk.engine.core.jobs.delete("job")
    await pass_time(desk, 3 * DAY)
    await desk.engine.restart()
    await pass_time(desk, 3 * DAY)
    assert destination.hits == 0


def _nothing(*_: object) -> None:
    pass


async def test_an_id_taken_again_begins_anew_even_if_the_crash_came_between(
    desk: Desk, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion's commit is durable, and then the process dies before its schedules are taken back."""
    environments: dict[str, Any] = {"production": {}}
    await desk.create(schedule="now", environments=environments)
    await pass_time(desk, 1)
    core = desk.engine.core
    monkeypatch.setattr(core.schedules, "set", _nothing)
    await core.jobs.delete("job")
    await desk.engine.restart()
    await pass_time(desk, 1)
    await desk.create(schedule="now", environments=environments)
    await pass_time(desk, 1)
    assert destination.hits == 2


# -- retry chains


async def test_a_failed_run_is_retried_as_its_policy_says(desk: Desk, destination: Destination) -> None:
    destination.statuses = [500, 503, 200]
    await desk.policy()
    await desk.create(retry_policy="again")
    first = await desk.run()
    await desk.engine.settle()
    assert await desk.story() == [("MANUAL", "FAILED"), ("RETRY", "PENDING")]
    waiting = (await desk.runs())[1]
    assert waiting.scheduled_us == waiting.due_us == waiting.created_us + 10_000_000
    await pass_time(desk, 9.999)
    assert destination.hits == 1, "never early"
    await pass_time(desk, 0.001)
    assert await desk.story() == [("MANUAL", "FAILED"), ("RETRY", "FAILED"), ("RETRY", "PENDING")]
    await pass_time(desk, 10)
    assert await desk.story() == [("MANUAL", "FAILED"), ("RETRY", "FAILED"), ("RETRY", "SUCCEEDED")]
    chain = [await job_run(desk, row) for row in await desk.runs()]
    assert [(each.retry_of, each.attempt) for each in chain] == [(None, 0), (first, 1), (first, 2)]


async def test_the_chain_ends_when_no_retry_is_left(desk: Desk, destination: Destination) -> None:
    destination.statuses = [500]
    await desk.policy(max_retries=3)
    await desk.create(retry_policy="again")
    await desk.run()
    for _ in range(6):
        await pass_time(desk, 10)
    assert destination.hits == 4
    assert await desk.story() == [("MANUAL", "FAILED")] + [("RETRY", "FAILED")] * 3


async def test_production_retries_and_staging_does_not(desk: Desk, destination: Destination) -> None:
    """The seed's example: "staging uses the zero-retry no-retries policy"."""
    destination.statuses = [500]
    await desk.policy("retry-on-5xx", max_retries=1)
    await desk.policy("no-retries", max_retries=0)
    staging = {"enabled": True, "retry_policy": "no-retries"}
    await desk.create(retry_policy="retry-on-5xx", environments={"production": {"enabled": True}, "staging": staging})
    await desk.run(environment="production")
    await desk.run(environment="staging")
    await pass_time(desk, 10)
    assert sorted((row.environment, row.trigger) for row in await desk.runs()) == [
        ("production", "MANUAL"),
        ("production", "RETRY"),
        ("staging", "MANUAL"),
    ]


async def test_a_retry_after_is_ignored(desk: Desk, destination: Destination) -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "3600"})

    destination.answer = busy
    await desk.policy(delay_seconds=2)
    await desk.create(retry_policy="again")
    await desk.run()
    await desk.engine.settle()
    waiting = (await desk.runs())[1]
    assert waiting.due_us == waiting.created_us + 2_000_000


async def test_a_policy_changed_mid_chain_holds_from_the_next_failure_on(desk: Desk, destination: Destination) -> None:
    destination.statuses = [500]
    await desk.policy(delay_seconds=10)
    await desk.create(retry_policy="again")
    await desk.run()
    await desk.engine.settle()
    await desk.policy(delay_seconds=60, max_retries=2)
    await pass_time(desk, 10)
    rows = await desk.runs()
    assert [(row.due_us or 0) - row.created_us for row in rows if row.status == "PENDING"] == [60_000_000]
    await pass_time(desk, 60)
    await pass_time(desk, 600)
    assert destination.hits == 3


async def test_a_policy_that_does_not_match_any_more_ends_the_chain(desk: Desk, destination: Destination) -> None:
    destination.statuses = [500]
    await desk.policy()
    await desk.create(retry_policy="again")
    await desk.run()
    await desk.engine.settle()
    await desk.policy(retry_statuses=["4xx"])
    await pass_time(desk, 600)
    assert await desk.story() == [("MANUAL", "FAILED"), ("RETRY", "FAILED")]


async def test_a_job_changed_mid_chain_is_retried_as_it_is_then(desk: Desk, destination: Destination) -> None:
    destination.statuses = [500, 200]
    await desk.policy()
    await desk.create(retry_policy="again", request={"body": "old"})
    await desk.run()
    await desk.engine.settle()
    await desk.replace(retry_policy="again", request={"body": "new"})
    await pass_time(desk, 10)
    assert [sent.body for sent in destination.requests] == ["old", "new"]
    assert [(await desk.report(row)).version for row in await desk.runs()] == [1, 2]


async def test_deleting_the_job_mid_chain_cancels_what_waits(desk: Desk, destination: Destination) -> None:
    destination.statuses = [500]
    await desk.policy()
    await desk.create(retry_policy="again")
    await desk.run()
    await desk.engine.settle()
    await desk.engine.core.jobs.delete("job")
    await desk.engine.settle()
    assert await desk.story() == [("MANUAL", "FAILED"), ("RETRY", "CANCELED")], "at once, and not when it is due"
    await pass_time(desk, 600)
    assert destination.hits == 1
    used = await desk.engine.core.quota.used()
    assert used.runs == 1, "a run that was canceled before it began is not metered"


async def test_switching_the_environment_off_mid_chain_cancels_what_waits_there(
    desk: Desk, destination: Destination
) -> None:
    destination.statuses = [500]
    await desk.policy(max_retries=1)
    on = {"production": {"enabled": True}, "staging": {"enabled": True}}
    await desk.create(retry_policy="again", environments=on)
    await desk.run(environment="production")
    await desk.run(environment="staging")
    await desk.engine.settle()
    await desk.replace(retry_policy="again", environments={**on, "staging": {"enabled": False}})
    await desk.engine.settle()
    waiting = [(row.environment, row.status) for row in await desk.runs() if row.trigger == "RETRY"]
    assert sorted(waiting) == [("production", "PENDING"), ("staging", "CANCELED")], "at once"
    await pass_time(desk, 600)
    assert sorted((row.environment, row.trigger, row.status) for row in await desk.runs()) == [
        ("production", "MANUAL", "FAILED"),
        ("production", "RETRY", "FAILED"),
        ("staging", "MANUAL", "FAILED"),
        ("staging", "RETRY", "CANCELED"),
    ]


async def test_a_run_under_way_when_its_job_is_deleted_ends_and_is_not_retried(
    desk: Desk, destination: Destination
) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        arrived.set()
        await go_on.wait()
        return web.Response(status=500)

    destination.answer = slow
    await desk.policy()
    await desk.create(retry_policy="again")
    await desk.run()
    await arrived.wait()
    await desk.engine.core.jobs.delete("job")
    go_on.set()
    await pass_time(desk, 600)
    assert await desk.story() == [("MANUAL", "FAILED")]


async def test_a_crash_mid_chain_neither_loses_nor_repeats_a_retry(desk: Desk, destination: Destination) -> None:
    destination.statuses = [500, 500, 200]
    await desk.policy()
    await desk.create(retry_policy="again")
    await desk.run()
    await desk.engine.settle()
    await pass_time(desk, 4)
    await desk.engine.restart()
    await pass_time(desk, 5)
    assert destination.hits == 1, "the wait goes on where it was"
    await pass_time(desk, 1)
    assert destination.hits == 2
    await desk.engine.restart()
    await pass_time(desk, 10)
    assert await desk.story() == [("MANUAL", "FAILED"), ("RETRY", "FAILED"), ("RETRY", "SUCCEEDED")]


async def test_a_scheduled_run_begins_a_chain_beside_its_schedule(desk: Desk, destination: Destination) -> None:
    destination.statuses = [500, 200]
    await desk.policy(delay_seconds=7200)
    await desk.create(schedule=NIGHTLY, retry_policy="again")
    await pass_time(desk, 2 * HOUR)
    await pass_time(desk, 2 * HOUR)
    assert await desk.story() == [("SCHEDULE", "FAILED"), ("RETRY", "SUCCEEDED")]
    assert times(desk) == {"production": "01-02 02:00"}


async def test_a_one_off_that_is_spent_is_still_retried(desk: Desk, destination: Destination) -> None:
    destination.statuses = [500, 200]
    await desk.policy()
    await desk.create(schedule="now", environments={"production": {}}, retry_policy="again")
    await pass_time(desk, 0)
    await pass_time(desk, 10)
    assert await desk.story() == [("SCHEDULE", "FAILED"), ("RETRY", "SUCCEEDED")]


async def test_runs_count_one_by_one_and_a_chain_is_one_task(desk: Desk, destination: Destination) -> None:
    destination.statuses = [500, 500, 200]
    await desk.policy()
    await desk.create(retry_policy="again")
    await desk.run()
    for _ in range(3):
        await pass_time(desk, 10)
    [used] = await desk.engine.core.store.usage(0, 1_000_000)
    assert (used.workflow, used.environment, used.runs, used.tasks) == ("durably.job", "production", 3, 1)


# -- again


async def test_a_rerun_is_of_the_job_as_it_is_now(desk: Desk, destination: Destination) -> None:
    await desk.create(request={"body": "old"})
    source = await desk.run()
    await desk.engine.settle()
    await desk.replace(request={"body": "new"}, environments={})
    created = await again(desk, source)
    assert created.job is not None
    assert (created.trigger, created.environment, created.job.rerun_of) == ("RERUN", "production", source)
    await desk.engine.start_created(desk.engine.registered(created.workflow), created)
    await desk.engine.settle()
    assert await desk.story() == [("MANUAL", "SUCCEEDED"), ("RERUN", "SUCCEEDED")], "switched off or not"
    assert [sent.body for sent in destination.requests] == ["old", "new"]


async def test_a_rerun_needs_the_job(desk: Desk) -> None:
    await desk.create()
    source = await desk.run()
    await desk.engine.settle()
    await desk.engine.core.jobs.delete("job")
    with pytest.raises(RunConflict, match="deleted"):
        await again(desk, source)


async def again(desk: Desk, source: str) -> RunCreated:
    row = await desk.engine.core.store.run(source)
    assert row is not None
    return desk.engine.core.jobs.again(source, await desk.created(row))
