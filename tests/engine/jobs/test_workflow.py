"""What one run of a job sends, keeps and comes to. The destination is a real server."""

import asyncio

import pytest
from aiohttp import web

from durably.engine.jobs.beginnings import begin_on_schedule
from durably.store import RunRow
from tests.destination import Destination
from tests.engine.jobs.conftest import Desk, OpenDesk

pytestmark = pytest.mark.anyio


async def the_run(desk: Desk) -> RunRow:
    """The job's only run, once it has ended."""
    await ended(desk)
    [row] = await desk.runs()
    return row


async def ended(desk: Desk) -> None:
    await desk.engine.settle()


async def test_the_request_is_sent_as_the_job_says(desk: Desk, destination: Destination) -> None:
    request = {"method": "PUT", "body": "grüße", "headers": {"Content-Type": "text/plain", "X-Key": "s3cr3t"}}
    await desk.create(request=request)
    await desk.run()
    row = await the_run(desk)
    assert (row.trigger, row.status, row.environment, row.job) == ("MANUAL", "SUCCEEDED", "production", "job")
    [sent] = destination.requests
    assert (sent.method, sent.path, sent.body) == ("PUT", "/hook", "grüße")
    assert sent.headers["X-Key"] == "s3cr3t"
    assert sent.headers["Content-Type"] == "text/plain"


async def test_an_environments_own_leaves_are_sent_there(desk: Desk, destination: Destination) -> None:
    staging = {"enabled": True, "method": "PATCH", "headers.x-key": "staging", "url": f"{desk.url}/staging"}
    await desk.create(request={"headers": {"X-Key": "base", "X-Too": "1"}}, environments={"staging": staging})
    await desk.run()
    row = await the_run(desk)
    assert row.environment == "staging"
    [sent] = destination.requests
    assert (sent.method, sent.path) == ("PATCH", "/hook/staging")
    assert (sent.headers["x-key"], sent.headers["x-too"]) == ("staging", "1")


async def test_the_snapshot_hides_values_of_headers_and_the_log_has_none(desk: Desk) -> None:
    request = {"body": "hello", "headers": {"Authorization": "Bearer s3cr3t", "X-Plain": "plain-value"}}
    await desk.create(request=request)
    await desk.run()
    row = await the_run(desk)
    report = await desk.report(row)
    assert report.request is not None
    assert report.request.headers == {"Authorization": "***", "X-Plain": "***"}
    assert (report.request.method, report.request.url, report.request.body) == ("POST", desk.url, "hello")
    records = (await desk.engine.core.store.records([row.run]))[row.run]
    assert not any(b"s3cr3t" in each.body or b"plain-value" in each.body for each in records)


async def test_the_answer_is_kept(desk: Desk) -> None:
    await desk.create()
    await desk.run()
    report = await desk.report(await the_run(desk))
    assert report.result is not None
    assert (report.result.status, report.result.body) == (200, "status 200")
    assert (report.result.body_truncated, report.result.body_bytes) == (False, 10)
    assert report.result.headers["x-served"] == "yes"


async def test_of_a_large_answer_64_kib_are_kept(desk: Desk, destination: Destination) -> None:
    async def large(_: web.Request) -> web.Response:
        return web.Response(text="x" * 100_000)

    destination.answer = large
    await desk.create()
    await desk.run()
    report = await desk.report(await the_run(desk))
    assert report.result is not None
    assert len(report.result.body) == 64 * 1024
    assert (report.result.body_truncated, report.result.body_bytes) == (True, 100_000)


async def test_of_a_large_request_64_kib_are_kept_and_all_is_sent(desk: Desk, destination: Destination) -> None:
    await desk.create(request={"body": "é" * 50_000})
    await desk.run()
    report = await desk.report(await the_run(desk))
    assert report.request is not None
    assert report.request.body == "é" * (32 * 1024)
    assert (report.request.body_truncated, report.request.body_bytes) == (True, 100_000)
    assert len(destination.requests[0].body) == 50_000


@pytest.mark.parametrize(
    ("status", "wanted", "outcome"),
    [
        (204, "2xx", "SUCCEEDED"),
        (201, "201", "SUCCEEDED"),
        (404, "404", "SUCCEEDED"),
        (200, "201", "FAILED"),
        (301, "2xx", "FAILED"),
        (302, "3XX", "SUCCEEDED"),
        (500, "2xx", "FAILED"),
    ],
)
async def test_the_success_status_decides(
    desk: Desk, destination: Destination, status: int, wanted: str, outcome: str
) -> None:
    destination.statuses = [status]
    await desk.create(request={"success_status": wanted})
    await desk.run()
    row = await the_run(desk)
    report = await desk.report(row)
    assert row.status == outcome
    assert report.failure == (None if outcome == "SUCCEEDED" else "NON_SUCCESS_STATUS")
    assert report.result is not None, "the answer is kept either way"
    assert report.result.status == status


async def test_redirects_are_not_followed(desk: Desk, destination: Destination) -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    destination.answer = elsewhere
    await desk.create()
    await desk.run()
    report = await desk.report(await the_run(desk))
    assert destination.hits == 1
    assert report.result is not None
    assert report.result.status == 302


async def test_an_answer_that_takes_too_long_is_a_timeout(desk: Desk, destination: Destination) -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    destination.answer = never
    await desk.create(request={"timeout": 1})
    await desk.run()
    row = await the_run(desk)
    report = await desk.report(row)
    assert (row.status, report.failure, report.result) == ("FAILED", "TIMEOUT", None)
    assert report.request is not None
    assert report.error is not None
    assert "within 1 s" in report.error


async def test_destinations_that_cannot_be_reached_are_connection_errors(desk: Desk, destination: Destination) -> None:
    """DNS, refused connection, TLS, transport: the seed's four."""

    async def breaks_off(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    destination.answer = breaks_off
    urls = {
        "dns": "http://no-such-host.invalid/",
        "refused": "http://127.0.0.1:1/",
        "tls": desk.url.replace("http:", "https:"),
        "transport": desk.url,
    }
    for name, url in urls.items():
        await desk.create(name, request={"url": url})
        await desk.run(name)
        await ended(desk)
        [row] = await desk.runs(name)
        assert (name, row.status, (await desk.report(row)).failure) == (name, "FAILED", "CONNECTION_ERROR")


async def test_private_addresses_are_refused_unless_allowed(destination: Destination, open_with: OpenDesk) -> None:
    async with open_with(destination.url) as desk:
        await desk.create(request={"url": "http://169.254.169.254/latest/meta-data"})
        await desk.run()
        row = await the_run(desk)
        assert (await desk.report(row)).failure == "SSRF_BLOCKED"
    assert destination.hits == 0


async def test_a_crash_while_the_request_is_under_way_ends_the_run(desk: Desk, destination: Destination) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        arrived.set()
        await gone.wait()
        return web.Response()

    destination.answer = slow
    await desk.policy()
    await desk.create(retry_policy="again")
    await desk.run()
    await arrived.wait()
    await desk.engine.restart()
    gone.set()
    await desk.engine.settle()
    assert await desk.story() == [("MANUAL", "FAILED")], "never retried, whatever the policy"
    [row] = await desk.runs()
    assert (await desk.report(row)).failure == "WORKER_LOST"
    assert destination.hits == 1


async def test_over_the_quota_a_run_fails_and_sends_nothing(destination: Destination, open_with: OpenDesk) -> None:
    async with open_with(destination.url, quota=2) as desk:
        await desk.policy()
        await desk.create(retry_policy="again")
        for _ in range(3):
            await desk.run()
            await ended(desk)
        assert await desk.story() == [("MANUAL", "SUCCEEDED"), ("MANUAL", "SUCCEEDED"), ("MANUAL", "FAILED")]
        report = await desk.report((await desk.runs())[-1])
        assert (report.failure, report.request) == ("QUOTA_EXCEEDED", None)
        assert destination.hits == 2
        await desk.engine.clock.advance(31 * 86_400)  # the next month
        await desk.run()
        await ended(desk)
        assert (await desk.runs())[-1].status == "SUCCEEDED"


async def test_the_configuration_is_that_of_the_moment_it_fires(desk: Desk, destination: Destination) -> None:
    await desk.create(request={"body": "old"})
    created = desk.engine.core.jobs.by_hand("job", None)
    await desk.replace(request={"body": "new"})
    await desk.engine.start_created(desk.engine.registered(created.workflow), created)
    report = await desk.report(await the_run(desk))
    assert destination.requests[0].body == "new"
    assert report.version == 2


async def test_what_is_switched_off_when_it_fires_is_canceled(desk: Desk, destination: Destination) -> None:
    """Should a run slip through between the cancels and the change, it does not send."""
    job = await desk.create(schedule="0 0 * * *")
    created = begin_on_schedule(job, "production", 0)
    assert created is not None
    await desk.replace(schedule="0 0 * * *", environments={"production": {"enabled": False}})
    await desk.engine.start_created(desk.engine.registered(created.workflow), created)
    row = await the_run(desk)
    assert (row.trigger, row.status) == ("SCHEDULE", "CANCELED")
    assert destination.hits == 0


async def test_a_run_of_a_deleted_job_whose_id_was_taken_again_is_canceled(
    desk: Desk, destination: Destination
) -> None:
    await desk.create()
    created = desk.engine.core.jobs.by_hand("job", None)
    await desk.engine.core.jobs.delete("job")
    await desk.engine.clock.advance(1)
    await desk.create()
    await desk.engine.start_created(desk.engine.registered(created.workflow), created)
    assert (await the_run(desk)).status == "CANCELED"
    assert destination.hits == 0


async def test_who_starts_the_workflow_as_one_of_theirs_sends_nothing(desk: Desk, destination: Destination) -> None:
    job = await desk.create()
    run = await desk.engine.start("durably.job", job=job.id, born_us=job.born_us)
    await desk.engine.settle()
    assert await run.status() == "CANCELED"
    assert destination.hits == 0
