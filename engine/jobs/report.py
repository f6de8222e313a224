"""What a job's run did, as its log tells: the request that was sent, the answer, and why it failed."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from durably.engine.errors import ErrorInfo
from durably.engine.http.messages import Response
from durably.engine.http.secrets import HIDDEN, hide_query
from durably.engine.jobs.chain import FailureReason, failure_of, failure_reason
from durably.engine.jobs.model import Configuration
from durably.engine.log.records import JobRun, Published, RunCreated, RunFailed, Sealed, StepSucceeded, decode_record

__all__ = ["MAX_SHOWN", "REQUEST", "Answer", "Report", "RequestSnapshot", "RunResult", "Sent", "report_of"]

REQUEST = "request"
"""The topic of what a job's run publishes before it sends: `Sent`."""

MAX_SHOWN = 64 * 1024
"""The most bytes of a body that are kept, of the request and of the answer."""


class RequestSnapshot(Struct, frozen=True):
    """A request as it was sent, without its secrets: values of headers, and parameters of the URL that look secret."""

    method: str
    url: str
    headers: dict[str, str]
    body: str | None
    body_truncated: bool
    body_bytes: int

    @classmethod
    def of(cls, settings: Configuration) -> "RequestSnapshot":
        """What is kept of a request."""
        body = (settings.body or "").encode()
        return cls(
            method=settings.method,
            url=hide_query(settings.url),
            headers=dict.fromkeys(settings.headers, HIDDEN),
            body=None if settings.body is None else body[:MAX_SHOWN].decode(errors="ignore"),
            body_truncated=len(body) > MAX_SHOWN,
            body_bytes=len(body),
        )


class Sent(Struct, frozen=True):
    """A request, and which version of the job it was."""

    version: int
    request: RequestSnapshot


class RunResult(Struct, frozen=True):
    """The answer. `body_bytes` is the length of the whole body, of which `body` may be the beginning."""

    status: int
    headers: dict[str, str]
    body: str
    body_truncated: bool
    body_bytes: int

    @classmethod
    def of(cls, response: Response) -> "RunResult":
        """What is kept of an answer."""
        return cls(response.status, dict(response.headers), response.text, response.truncated, response.body_bytes)


class Answer(Struct, frozen=True):
    """What a run's step comes to: the answer, and what it is an answer to."""

    method: str
    url: str
    success_status: str
    result: RunResult


class Report(Struct):
    """What there is to tell of a run."""

    job: JobRun | None = None
    """None if its log cannot be read; `error` says why."""
    version: int | None = None
    """The job's, as it was carried out or, before that, when the run was created."""
    request: RequestSnapshot | None = None
    result: RunResult | None = None
    failure: FailureReason | None = None
    error: str | None = None


def report_of(bodies: Iterable[bytes]) -> Report:
    """What a run's records tell."""
    report = Report()
    try:
        for body in bodies:
            match decode_record(body):
                case RunCreated() as created if created.job is not None:
                    report.job, report.version = created.job, created.job.version
                case Published() as message:
                    sent = msgspec.json.decode(message.data, type=Sent)
                    report.version, report.request = sent.version, sent.request
                case StepSucceeded(output=output):
                    answer = msgspec.json.decode(output, type=Answer | None)
                    report.result = None if answer is None else answer.result
                case RunFailed(error=error):
                    report.failure, report.error = failure_reason(error), _words(error)
                case _:
                    pass
    except Sealed as sealed:
        return Report(error=str(sealed))
    return report


def _words(error: ErrorInfo) -> str:
    why = failure_of(error)
    return why.message or why.type
