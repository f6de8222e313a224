"""The third seed's vendor publishes a Python SDK: unmodified, it works with `durably serve`, sync and async.

It is pinned: `auth_client=`, the only way to give it an address that is no subdomain, is for its own use.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from smplkit import AsyncJobsClient, JobsClient
from smplkit._generated.jobs.client import AuthenticatedClient
from smplkit.errors import ConflictError, NotFoundError, ValidationError
from smplkit.jobs import Backoff, HttpConfig, JobKind, RunTrigger

WORKFLOWS = """
from durably import workflow

@workflow
async def nothing() -> None:
    pass
"""


class Destination:
    """Answers with `statuses` one after another, the last one for ever, and tells of each request in `requests`."""

    def __init__(self) -> None:
        self.statuses = [200]
        self.requests: Queue[tuple[str, dict[str, str], str]] = Queue()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                status = outer.statuses.pop(0) if len(outer.statuses) > 1 else outer.statuses[0]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"seen")
                outer.requests.put((self.path, dict(self.headers), body))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


@pytest.fixture
def destination() -> Iterator[Destination]:
    found = Destination()
    thread = Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.fixture
def transport(serve: Callable[..., Any], tmp_path: Path) -> Iterator[Any]:
    """The SDK's own way to a running server, which may reach the destination."""
    (tmp_path / "app.py").write_text(WORKFLOWS)
    program = serve("app.py", DURABLY_HTTP_ALLOW="127.0.0.0/8")
    headers = {"Accept": "application/vnd.api+json"}
    connect: Any = AuthenticatedClient  # whose parameters are called otherwise than its fields
    with connect(base_url=program.url, token="none is needed", headers=headers) as client:  # noqa: S106 - none
        yield client


FIELDS: dict[str, Any] = {
    "max_retries": 5,
    "backoff": Backoff.EXPONENTIAL,
    "delay_seconds": 1,
    "max_delay_seconds": 60,
    "retry_on_timeout": True,
    "retry_on_connection_error": True,
    "retry_statuses": ["429", "5XX"],
    "retry_statuses_except": ["501"],
}
EVERY_SECOND: dict[str, Any] = {**FIELDS, "backoff": Backoff.FIXED, "max_delay_seconds": None}


def test_policies_are_created_listed_changed_and_deleted(transport: Any) -> None:
    policies: Any = JobsClient(auth_client=transport).retry_policies
    policy = policies.new("a/b c", name="Retry on server errors", **FIELDS)
    policy.save()
    assert (policy.version, policy.retry_statuses) == (1, ["429", "5xx"])
    assert policy.created_at is not None
    policy.name = "renamed"
    policy.max_delay_seconds = None
    policy.save()
    assert (policy.version, policies.get("a/b c").max_delay_seconds) == (2, None)
    policies.new("other", name="Another", max_retries=0, backoff=Backoff.FIXED, delay_seconds=1).save()
    assert [each.id for each in policies.list()] == ["other", "a/b c"]
    assert [each.id for each in policies.list(name="RENAM", page_number=1, page_size=10)] == ["a/b c"]
    policy.delete()
    with pytest.raises(NotFoundError):
        policies.get("a/b c")
    with pytest.raises(ValidationError):
        policies.new("bad", name="", max_retries=11, backoff=Backoff.FIXED, delay_seconds=0).save()
    with pytest.raises(ConflictError):
        policies.new("other", name="twice", max_retries=0, backoff=Backoff.FIXED, delay_seconds=1).save()


def test_jobs_are_created_listed_changed_and_deleted(transport: Any) -> None:
    jobs: Any = JobsClient(auth_client=transport)
    policy = jobs.retry_policies.new("p", name="p", max_retries=0, backoff=Backoff.FIXED, delay_seconds=1)
    policy.save()
    request = HttpConfig(url="https://example.com/warm", headers={"Authorization": "Bearer s3cr3t"}, body="{}")
    job = jobs.new_recurring_job(
        "warm", name="Warm", schedule="0 2 * * *", timezone="Europe/Berlin", configuration=request
    )
    job.environment("production").enabled = True
    staging = job.environment("staging")
    staging.enabled, staging.schedule, staging.timeout, staging.retry_policy = True, "*/5 * * * *", 5, policy
    staging.set_header("X-Dotted.Name", "1")
    job.save()
    assert (job.kind, job.version, job.enabled) == (JobKind.RECURRING, 1, True)
    assert job.environment("production").next_run_at is not None

    job = jobs.get("warm")
    assert job.configuration.get_header("Authorization") == "Bearer s3cr3t"
    staging = job.environment("staging")
    assert (staging.schedule, staging.timeout, staging.retry_policy, staging.url) == ("*/5 * * * *", 5, "p", None)
    assert staging.get_header("X-Dotted.Name") == "1"
    job.name, job.environment("staging").enabled = "Warmer", False
    job.save()
    assert (job.version, jobs.get("warm").environment("staging").next_run_at) == (2, None)

    jobs.new_manual_job("by-hand", name="By hand", configuration=HttpConfig(url="https://example.com")).save()
    assert [each.id for each in jobs.list()] == ["by-hand", "warm"]
    assert [each.id for each in jobs.list(kind=JobKind.MANUAL)] == ["by-hand"]
    assert [each.id for each in jobs.list(scheduled=True, name="warm")] == ["warm"]
    with pytest.raises(ConflictError):
        policy.delete()
    with pytest.raises(ValidationError):
        jobs.new_manual_job("bad", name="", configuration=HttpConfig(url="nowhere", timeout=0)).save()
    job.delete()
    policy.delete()
    with pytest.raises(NotFoundError):
        jobs.get("warm")
    usage = jobs.usage()
    assert (usage.runs_used, usage.runs_included, usage.active_jobs) == (0, -1, 1)


def test_a_retry_chain_is_followed(transport: Any, destination: Destination) -> None:
    destination.statuses = [500, 503, 200]
    jobs: Any = JobsClient(auth_client=transport)
    policy = jobs.retry_policies.new(
        "fast", name="Fast", **{**FIELDS, "backoff": Backoff.FIXED, "max_delay_seconds": None}
    )
    policy.save()
    job = jobs.new_manual_job("hook", name="Hook", configuration=HttpConfig(url=destination.url, body="hello"))
    job.retry_policy = policy
    job.environment("production").enabled = True
    job.save()
    first = job.trigger()
    assert (first.trigger, first.environment, first.retry) == (RunTrigger.MANUAL, "production", None)
    assert [destination.requests.get(timeout=30)[2] for _ in range(3)] == ["hello"] * 3
    last = _ended(lambda: job.list_runs(triggers=[RunTrigger.RETRY]))
    retries = sorted(job.list_runs(triggers=[RunTrigger.RETRY]), key=lambda run: run.retry.attempt)
    assert [(run.retry.of, run.retry.attempt, run.status) for run in retries] == [
        (first.id, 1, "FAILED"),
        (first.id, 2, "SUCCEEDED"),
    ]
    assert last.id == retries[-1].id
    failed = jobs.runs.get(first.id)
    assert (failed.status, failed.failure_reason, failed.result["status"]) == ("FAILED", "NON_SUCCESS_STATUS", 500)
    assert retries[0].scheduled_for > failed.finished_at
    assert [run.id for run in job.list_runs(last_run_only=True)] == [last.id]
    again = last.rerun()
    assert (again.trigger, again.rerun_of) == (RunTrigger.RERUN, last.id)
    _ended(lambda: [jobs.runs.get(again.id)])
    with pytest.raises(ConflictError):
        jobs.runs.cancel(again.id)
    assert len(jobs.runs.list(page_size=2)) == 2
    assert jobs.usage().runs_used == 4


def test_a_waiting_retry_is_canceled(transport: Any, destination: Destination) -> None:
    destination.statuses = [500]
    jobs: Any = JobsClient(auth_client=transport)
    jobs.retry_policies.new("slow", name="Slow", **{**EVERY_SECOND, "delay_seconds": 3600}).save()
    job = jobs.new_manual_job(
        "hook",
        name="Hook",
        configuration=HttpConfig(url=destination.url),
        retry_policy="slow",
        environments={"production": {"enabled": True}},
    )
    job.save()
    job.trigger()
    [waiting] = _soon(lambda: job.list_runs(triggers=[RunTrigger.RETRY]))
    assert waiting.status == "PENDING"
    assert waiting.cancel().status == "CANCELED"


def test_a_one_off_runs_at_once(transport: Any, destination: Destination) -> None:
    jobs: Any = JobsClient(auth_client=transport)
    job = jobs.new_recurring_job(
        "once",
        name="Once",
        schedule="now",
        configuration=HttpConfig(url=destination.url),
        environments={"production": {"enabled": True}},
    )
    job.save()
    assert job.kind == JobKind.ONE_OFF
    destination.requests.get(timeout=30)
    run = _ended(lambda: job.list_runs(environment="production"))
    assert (run.trigger, run.status) == (RunTrigger.SCHEDULE, "SUCCEEDED")
    assert jobs.list() == []


def _soon(look: Callable[[], list[Any]]) -> list[Any]:
    for _ in range(400):
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it is not there")


def _ended(look: Callable[[], list[Any]]) -> Any:
    """The newest run of a list, once it has ended well."""
    return _soon(lambda: [run for run in look()[:1] if run.status == "SUCCEEDED"])[0]


# -- the same with the async client


def test_the_async_client_does_it_all_too(transport: Any, destination: Destination) -> None:
    async def story() -> None:
        async with transport:
            await _async_story(AsyncJobsClient(auth_client=transport), destination)

    asyncio.run(story())


async def _async_story(jobs: Any, destination: Destination) -> None:
    destination.statuses = [500, 200]
    policy = jobs.retry_policies.new("fast", name="Fast", **EVERY_SECOND)
    await policy.save()
    assert [each.id for each in await jobs.retry_policies.list(name="FAST")] == ["fast"]
    job = jobs.new_manual_job("hook", name="Hook", configuration=HttpConfig(url=destination.url), retry_policy=policy)
    job.environment("staging").enabled = True
    await job.save()
    job.description = "changed"
    await job.save()
    assert (await jobs.get("hook")).description == "changed"
    assert [each.id for each in await jobs.list(kind=JobKind.MANUAL)] == ["hook"]

    first = await job.trigger(environment="staging")
    for _ in range(2):
        await asyncio.to_thread(destination.requests.get, timeout=30)
    retry = None
    for _ in range(400):
        [retry] = await job.list_runs(triggers=[RunTrigger.RETRY]) or [None]
        if retry is not None and retry.status == "SUCCEEDED":
            break
        await asyncio.sleep(0.05)
    assert retry is not None
    assert (retry.retry.of, retry.retry.attempt, retry.status) == (first.id, 1, "SUCCEEDED")
    assert (await jobs.runs.get(first.id)).failure_reason == "NON_SUCCESS_STATUS"
    again = await retry.rerun()
    assert (again.rerun_of, again.environment) == (retry.id, "staging")
    with pytest.raises(ConflictError):
        await policy.delete()
    await job.delete()
    await policy.delete()
    with pytest.raises(NotFoundError):
        await jobs.get("hook")
    with pytest.raises(ConflictError):
        await retry.rerun()
    assert (await jobs.usage()).active_jobs == 0
