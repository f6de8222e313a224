"""The built-in workflow that carries out jobs, on the same engine and as durably as any other.

A run sends one request, once: a crash meanwhile ends it, for nobody knows what the request has done (DESIGN rule 12).
What it sends is a message in its log, and the answer the result of its step: both are there whatever it comes to.
"""

from msgspec import Raw

from durably.engine.body.context import running_step
from durably.engine.declare.definitions import step, workflow
from durably.engine.http.client import HttpClient
from durably.engine.http.errors import UnexpectedStatus
from durably.engine.http.messages import Request, Response
from durably.engine.http.statuses import is_among
from durably.engine.jobs.chain import WORKFLOW
from durably.engine.jobs.jobs import Jobs
from durably.engine.jobs.model import Configuration
from durably.engine.jobs.quota import Quota
from durably.engine.jobs.report import MAX_SHOWN, REQUEST, Answer, RequestSnapshot, RunResult, Sent
from durably.engine.retries.retry import RetryPolicy
from durably.engine.values.codec import encode

__all__ = ["run_job"]


@step("send", on_lost="fail", retry=RetryPolicy.NEVER)
async def send(job: str, born_us: int) -> Answer | None:
    """Send the job's request as the job stands now."""
    del job, born_us  # they are what the run's record says
    context = running_step()
    assert context is not None
    jobs = context.resource(Jobs)
    plan = jobs.plan(context.created)
    if plan is None:
        await jobs.withdraw(context.run_id)
        return None
    await context.resource(Quota).check()
    snapshot = RequestSnapshot.of(plan.configuration)
    await context.publish(REQUEST, Raw(encode(Sent(plan.version, snapshot))))
    response = await context.resource(HttpClient).send(_request(plan.configuration))
    return Answer(snapshot.method, snapshot.url, plan.configuration.success_status, RunResult.of(response))


@workflow(WORKFLOW, retry=RetryPolicy.NEVER)
async def run_job(job: str, born_us: int) -> None:
    """A run of the job `job`, which was created at `born_us`. It fails behind an answer that is no success."""
    answer = await send(job, born_us)
    if answer is not None and not is_among(answer.result.status, (answer.success_status,)):
        request = Request(method=answer.method, url=answer.url, success_status=(answer.success_status,))
        raise UnexpectedStatus(request, Response.of(answer.result.status))


def _request(settings: Configuration) -> Request:
    """As it is sent. Redirects are not followed: a policy can name `3xx`, and so can `success_status`."""
    return Request(
        method=settings.method,
        url=settings.url,
        headers=settings.headers,
        body=(settings.body or "").encode(),
        timeout=settings.timeout,
        success_status=(settings.success_status,),
        max_redirects=0,
        tls_verify=settings.tls_verify,
        ca_cert=settings.ca_cert,
        max_body=MAX_SHOWN,
    )
