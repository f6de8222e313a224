"""What follows a failed run of a job: a RETRY run, or nothing (the third seed, DESIGN section 5).

A run that a schedule, a person or a rerun has started begins a chain; its retries are runs of their own. The policy is
asked as it stands at the failure, and the wait is exact: no jitter, and whatever a `Retry-After` says.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Raw, Struct, structs

from durably.engine.errors import ErrorInfo
from durably.engine.jobs.model import Job, is_enabled, retry_policy
from durably.engine.log.records import JobRun, RunCreated, from_us
from durably.engine.retries.retry import Failure, Retry, RetryPolicy

__all__ = ["WORKFLOW", "FailureReason", "Target", "failure_of", "failure_reason", "successor", "target_of", "uuid_of"]

WORKFLOW = "durably.job"
"""The built-in workflow that jobs' runs are runs of."""

FailureReason: TypeAlias = Literal[
    "TIMEOUT", "CONNECTION_ERROR", "NON_SUCCESS_STATUS", "SSRF_BLOCKED", "QUOTA_EXCEEDED", "WORKER_LOST"
]
"""Why a run of a job failed. The last three are never retried, whatever the policy."""

_REASONS: dict[str, FailureReason] = {
    "durably.RequestTimeout": "TIMEOUT",
    "durably.AddressRefused": "SSRF_BLOCKED",
    "durably.ConnectionFailed": "CONNECTION_ERROR",
    "durably.UnexpectedStatus": "NON_SUCCESS_STATUS",
    "durably.QuotaExceeded": "QUOTA_EXCEEDED",
    "durably.WorkerLost": "WORKER_LOST",
}
"""By the name of the error, or of one that it inherits from."""


class Target(Struct, frozen=True):
    """The input of a job's run: which job, and when that was created, for a deleted one's id may be taken again."""

    job: str
    born_us: int

    def raw(self) -> Raw:
        """As the run is started with it."""
        return Raw(msgspec.json.encode(self))


def target_of(created: RunCreated) -> Target:
    """What a job's run was started with."""
    return msgspec.json.decode(created.input, type=Target)


def failure_of(error: ErrorInfo) -> ErrorInfo:
    """The error that tells why: what a step failed with, and not that it did."""
    while error.type == "durably.StepError" and error.cause is not None:
        error = error.cause
    return error


def failure_reason(error: ErrorInfo) -> FailureReason | None:
    """What a job's run failed with is called; None for what has no name, such as a mistake of ours."""
    return next((reason for name in failure_of(error).types if (reason := _REASONS.get(name))), None)


def successor(
    created: RunCreated,
    run_id: str,
    error: ErrorInfo,
    finished_us: int,
    *,
    jobs: Callable[[str], Job | None],
    policies: Callable[[str], RetryPolicy | None],
) -> RunCreated | None:
    """The run that follows the failed run `run_id`, if any. `jobs` gives the job of an id unless it was deleted.

    It is due after the wait of the policy, counted from the end of the failed run, and is visible at once.
    """
    if created.job is None:
        return None
    job = jobs(created.job.job)
    if job is None or job.born_us != target_of(created).born_us or not is_enabled(job.fields, created.environment):
        return None
    policy_id = retry_policy(job.fields, created.environment)
    policy = None if policy_id is None else policies(policy_id)
    failure = _failure(failure_reason(error), failure_of(error).status)
    if policy is None or failure is None:
        return None
    verdict = policy.decide(created.job.attempt, failure)
    if not isinstance(verdict, Retry):
        return None
    due_at = from_us(finished_us) + timedelta(seconds=verdict.delay)
    first = created.job.retry_of or run_id
    return structs.replace(
        created,
        trigger="RETRY",
        origin=first,
        due_at=due_at,
        scheduled_for=due_at,
        copied=None,
        resumed=None,
        ids={},
        job=JobRun(job=job.id, version=job.row.version, retry_of=first, attempt=created.job.attempt + 1),
    )


def _failure(reason: FailureReason | None, status: int | None) -> Failure | None:
    """As a policy sees it; None for what no policy is asked about."""
    match reason:
        case "TIMEOUT":
            return Failure("timeout")
        case "CONNECTION_ERROR":
            return Failure("connection")
        case "NON_SUCCESS_STATUS" if status is not None:
            return Failure("status", status=status)
        case _:
            return None


def uuid_of(token: str) -> str:
    """An id of 32 hexadecimal digits as a UUID, which the ids of jobs' runs are: the vendor's clients insist on it."""
    return str(UUID(token))
