"""What follows a failed run: pure decisions (third seed, and DESIGN section 5 where it is silent)."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from durably.engine.errors import ErrorInfo
from durably.engine.jobs.beginnings import begin_again, begin_by_hand, begin_on_schedule
from durably.engine.jobs.chain import FailureReason, failure_of, failure_reason, successor, target_of, uuid_of
from durably.engine.jobs.model import Configuration, Job, JobFields, Overlay
from durably.engine.log.records import RunCreated, to_us
from durably.engine.policies.model import PolicyFields, to_retry_policy
from durably.engine.retries.retry import RetryPolicy
from durably.store import DocumentRow

SECOND_US = 1_000_000
END_US = 1_767_225_600 * SECOND_US
FIRST = "00000000-0000-0000-0000-000000000001"


def error(*types: str, status: int | None = None, cause: ErrorInfo | None = None) -> ErrorInfo:
    return ErrorInfo(type=types[0], types=types, message="it failed", status=status, cause=cause)


def of_the_step(cause: ErrorInfo) -> ErrorInfo:
    return error("durably.StepError", "durably.DurablyError", "Exception", cause=cause)


TIMEOUT = of_the_step(error("durably.RequestTimeout", "durably.DurablyError", "TimeoutError"))
UNREACHABLE = of_the_step(error("durably.ConnectionFailed", "durably.DurablyError", "ConnectionError"))
SSRF = of_the_step(error("durably.AddressRefused", "durably.NonRetriableError"))
QUOTA = of_the_step(error("durably.QuotaExceeded", "durably.NonRetriableError"))
LOST = error("durably.WorkerLost", "durably.StepError")
MISTAKE = of_the_step(error("ValueError", "Exception"))


def answered(status: int) -> ErrorInfo:
    return error("durably.UnexpectedStatus", "durably.DurablyError", status=status)


def policy(**fields: Any) -> RetryPolicy:
    defaults: dict[str, Any] = {"name": "p", "max_retries": 3, "backoff": "fixed", "delay_seconds": 7}
    return to_retry_policy(PolicyFields(**{**defaults, **fields}))


EVERYTHING = policy(
    retry_on_timeout=True, retry_on_connection_error=True, retry_statuses=["1xx", "2xx", "3xx", "4xx", "5xx"]
)


def job(born_us: int = 1, version: int = 1, **fields: Any) -> Job:
    defaults: dict[str, Any] = {
        "name": "job",
        "configuration": Configuration(url="https://example.com"),
        "retry_policy": "policy",
        "environments": {"production": Overlay(enabled=True)},
    }
    row = DocumentRow(kind="job", id="job", body=b"", version=version, created_us=born_us, updated_us=born_us)
    return Job(row, JobFields(**{**defaults, **fields}))


def next_run(
    failure: ErrorInfo,
    of: RetryPolicy | None = EVERYTHING,
    *,
    created: RunCreated | None = None,
    now: Job | None = None,
    jobs: Callable[[str], Job | None] | None = None,
    run_id: str = FIRST,
) -> RunCreated | None:
    current = now or job()
    return successor(
        created or begin_by_hand(job(), "production"),
        run_id,
        failure,
        END_US,
        jobs=jobs or {"job": current}.get,
        policies={"policy": of, "other": policy()}.get,
    )


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (TIMEOUT, "TIMEOUT"),
        (UNREACHABLE, "CONNECTION_ERROR"),
        (answered(500), "NON_SUCCESS_STATUS"),
        (SSRF, "SSRF_BLOCKED"),
        (QUOTA, "QUOTA_EXCEEDED"),
        (LOST, "WORKER_LOST"),
        (MISTAKE, None),
    ],
)
def test_a_failure_has_one_reason(failure: ErrorInfo, reason: FailureReason | None) -> None:
    assert failure_reason(failure) == reason


def test_the_error_that_tells_is_what_the_step_failed_with() -> None:
    assert failure_of(TIMEOUT).type == "durably.RequestTimeout"
    assert failure_of(LOST).type == "durably.WorkerLost"
    assert failure_of(answered(500)).status == 500


@pytest.mark.parametrize(
    ("failure", "fields", "again"),
    [
        (TIMEOUT, {"retry_on_timeout": True}, True),
        (TIMEOUT, {"retry_on_connection_error": True, "retry_statuses": ["5xx"]}, False),
        (UNREACHABLE, {"retry_on_connection_error": True}, True),
        (UNREACHABLE, {"retry_on_timeout": True, "retry_statuses": ["5xx"]}, False),
        (answered(503), {"retry_statuses": ["5xx"]}, True),
        (answered(503), {"retry_statuses": ["503"]}, True),
        (answered(503), {"retry_statuses": ["4xx", "502"]}, False),
        (answered(503), {}, False),
        (answered(501), {"retry_statuses": ["5xx"], "retry_statuses_except": ["501"]}, False),
        (answered(501), {"retry_statuses": ["501"], "retry_statuses_except": ["5xx"]}, False),
        (answered(500), {"retry_statuses": ["5xx"], "retry_statuses_except": ["404"]}, True),
        (answered(200), {"retry_statuses": ["2xx"]}, True),  # another success was wanted
        (answered(503), {"retry_on_timeout": True, "retry_on_connection_error": True}, False),
    ],
)
def test_the_policy_decides(failure: ErrorInfo, fields: dict[str, Any], again: bool) -> None:
    assert (next_run(failure, policy(**fields)) is not None) is again


@pytest.mark.parametrize("failure", [SSRF, QUOTA, LOST, MISTAKE])
def test_some_failures_are_never_retried_regardless_of_the_policy(failure: ErrorInfo) -> None:
    assert next_run(failure) is None


def test_a_job_that_references_no_policy_is_never_retried() -> None:
    assert next_run(answered(500), now=job(retry_policy=None)) is None


def test_an_environments_policy_wins() -> None:
    staging = Overlay(enabled=True, retry_policy="other")
    created = begin_by_hand(job(environments={"staging": staging}), "staging")
    assert next_run(answered(500), created=created, now=job(environments={"staging": staging})) is None


def test_the_retry_is_visible_at_once_and_due_after_the_exact_wait() -> None:
    again = next_run(answered(500), now=job(version=4))
    assert again is not None
    assert (again.workflow, again.trigger, again.environment, again.origin) == (
        "durably.job",
        "RETRY",
        "production",
        FIRST,
    )
    assert again.due_at is not None
    assert to_us(again.due_at) == END_US + 7 * SECOND_US
    assert again.scheduled_for == again.due_at
    assert again.job is not None
    assert (again.job.job, again.job.version, again.job.retry_of, again.job.attempt) == ("job", 4, FIRST, 1)
    assert again.job.rerun_of is None


def test_a_chain_is_counted_from_its_first_run_and_ends() -> None:
    created: RunCreated | None = begin_by_hand(job(), "production")
    run_id = FIRST
    waits: list[float] = []
    doubling = policy(backoff="exponential", delay_seconds=2, max_delay_seconds=6, retry_statuses=["5xx"])
    for attempt in range(1, 4):
        created = next_run(answered(500), doubling, created=created, run_id=run_id)
        assert created is not None
        assert created.job is not None
        assert created.due_at is not None
        assert (created.job.retry_of, created.job.attempt) == (FIRST, attempt)
        waits.append((to_us(created.due_at) - END_US) / SECOND_US)
        run_id = f"retry-{attempt}"
    assert waits == [2, 4, 6]
    assert next_run(answered(500), doubling, created=created, run_id=run_id) is None


def test_max_retries_0_is_none() -> None:
    assert next_run(answered(500), policy(max_retries=0, retry_statuses=["5xx"])) is None


def test_reruns_and_scheduled_runs_begin_chains_of_their_own() -> None:
    scheduled = begin_on_schedule(job(schedule="0 2 * * *"), "production", END_US)
    for created in (begin_again(job(), "production", "source"), scheduled):
        assert created is not None
        again = next_run(answered(500), created=created, run_id="second")
        assert again is not None
        assert again.job is not None
        assert (again.job.retry_of, again.job.attempt, again.job.rerun_of) == ("second", 1, None)


@pytest.mark.parametrize(
    "now",
    [
        None,
        job(born_us=2),  # deleted, and another one has its id
        job(environments={"production": Overlay(enabled=False)}),
        job(environments={}),
    ],
)
def test_a_chain_ends_with_its_job(now: Job | None) -> None:
    def jobs(_: str) -> Job | None:
        return now

    assert next_run(answered(500), jobs=jobs) is None


def test_an_unknown_policy_is_none() -> None:
    assert next_run(answered(500), None) is None


def test_runs_of_workflows_have_no_successor() -> None:
    created = replace(begin_by_hand(job(), "production"), job=None)
    assert next_run(answered(500), created=created) is None


def test_what_a_run_is_of_goes_with_it() -> None:
    again = next_run(answered(500))
    assert again is not None
    assert target_of(again) == target_of(begin_by_hand(job(), "production"))


def test_ids_are_uuids() -> None:
    assert uuid_of("0123456789abcdef0123456789abcdef") == "01234567-89ab-cdef-0123-456789abcdef"
