"""`/api/v1/runs`: runs of jobs. Runs of workflows have an address of their own: the vendor's clients know none."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Literal, TypeAlias, get_args
from uuid import UUID

from aiohttp import web
from msgspec import Struct, convert

from durably import DurablyError, Engine, RunNotFound
from durably.api.access import principal_of, visible
from durably.api.availability import refuse_work
from durably.api.errors import Problem
from durably.api.jsonapi import Resource, collection, document
from durably.api.operations import Kind, Many, One, Operation, Parameter
from durably.api.queries import ListQuery, by_cursor, filter_by, filter_by_time, next_cursor, sort_by
from durably.engine.jobs.chain import WORKFLOW, FailureReason, uuid_of
from durably.engine.jobs.report import RequestSnapshot, RunResult, report_of
from durably.engine.log.records import RunCreated, decode_record, from_us
from durably.store import RunOrder, RunQuery, RunRow

__all__ = ["RUN", "STATUSES", "JobRuns", "start_run"]

PATH = "/api/v1/runs"
Status: TypeAlias = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED"]
Trigger: TypeAlias = Literal["SCHEDULE", "MANUAL", "RERUN", "RETRY"]
STATUSES: tuple[str, ...] = get_args(Status)
TRIGGERS: tuple[str, ...] = get_args(Trigger)
ORDERS: Mapping[str, RunOrder] = {
    "created_at": "created",
    "started_at": "started",
    "finished_at": "finished",
    "scheduled_for": "scheduled",
    "status": "status",
    "job": "job",
    "total_duration_ms": "duration",
}
MILLISECOND_US = 1_000
CANCEL_S = 5.0
"""How long a cancel is waited for, so that the answer can show it. A request under way ends at once."""

LAST_ONLY = "last_run_only"
LIST = (
    filter_by("job"),
    filter_by("status", STATUSES),
    filter_by("trigger", TRIGGERS),
    filter_by("environment"),
    filter_by_time("created_at"),
    filter_by_time("started_at"),
    filter_by_time("finished_at"),
    filter_by_time("scheduled_for"),
    Parameter(LAST_ONLY, bool, "Of each job in each environment only the last run that has ended and fits"),
    sort_by(ORDERS, "-created_at", most=1),
    *by_cursor(),
)


class RunRetry(Struct):
    """A retry's place in its chain: the run that began it, and the how-many-th retry it is."""

    of: str
    attempt: int


class RunAttributes(Struct, kw_only=True):
    """A run of a job. Durations are whole milliseconds; `pending` counts from its creation, a retry's wait included."""

    job: str
    job_version: int | None
    """The job's version that was carried out or, before that, the one that there was when the run was created."""
    environment: str
    trigger: Trigger
    rerun_of: str | None
    retry: RunRetry | None
    scheduled_for: datetime | None
    status: Status
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    pending_duration_ms: int | None
    run_duration_ms: int | None
    total_duration_ms: int | None
    failure_reason: FailureReason | None
    error: str | None
    request: RequestSnapshot | None
    """What was sent. Values of headers are not kept."""
    result: RunResult | None


RUN = Kind("run", RunAttributes)


class JobRuns:
    """Runs of jobs, as resources of type `run`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def operations(self) -> list[Operation]:
        one, run = PATH + "/{id}", One(RUN)
        cancel, rerun = f"{one}/actions/cancel", f"{one}/actions/rerun"
        return [
            Operation("GET", PATH, self.list, "Runs of jobs", "read", query=LIST, answers={200: Many(RUN)}),
            Operation("GET", one, self.read, "A run of a job", "read", answers={200: run}),
            Operation("POST", cancel, self.cancel, "Cancel a run of a job", "write", answers={200: run}),
            Operation("POST", rerun, self.rerun, "Run a job again as it is now", "write", answers={200: run}),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Runs that fit all filters, in one order; those without a value to go by come last either way."""
        query = ListQuery(request)
        created, started = query.interval("created_at"), query.interval("started_at")
        finished, scheduled = query.interval("finished_at"), query.interval("scheduled_for")
        order, size = query.sort_one(ORDERS, "-created_at"), query.page_size()
        wanted = RunQuery(
            job=query.filter("job"),
            status=query.filter("status", STATUSES),
            trigger=query.filter("trigger", TRIGGERS),
            environment=visible(request, query.filter("environment")),
            created_from_us=created.from_us,
            created_until_us=created.until_us,
            started_from_us=started.from_us,
            started_until_us=started.until_us,
            finished_from_us=finished.from_us,
            finished_until_us=finished.until_us,
            scheduled_from_us=scheduled.from_us,
            scheduled_until_us=scheduled.until_us,
            latest_only=query.flag(LAST_ONLY),
            order=ORDERS[order.name],
            descending=order.descending,
            before=query.page_after(order),
            limit=size + 1,  # one more tells whether there is another page
        )
        found = await self._engine.core.store.runs(wanted)
        following = next_cursor(order, wanted, found)
        return collection(request, await _resources(self._engine, found[:size]), size=size, after=following)

    async def read(self, request: web.Request) -> web.Response:
        """One run."""
        [resource] = await _resources(self._engine, [await self._find(request)])
        return document(resource)

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel a run that has not ended; 409 when it has. A request that is under way may arrive all the same."""
        row = await self._find(request)
        run = await self._engine.get_run(row.id)
        if not await run.cancel():
            raise Problem(409, "conflict", f"run {row.id!r} has ended {row.status}; it cannot be canceled")
        with suppress(DurablyError, TimeoutError):  # canceled, as it should; or it has ended otherwise, which is shown
            await run.result(timeout=CANCEL_S)
        return await self.read(request)

    async def rerun(self, request: web.Request) -> web.Response:
        """A new run of the same job in the same environment, as the job is now; 409 when it was deleted."""
        refuse_work(self._engine)
        row = await self._find(request)
        created = self._engine.core.jobs.again(row.id, await self._created(row))
        return document(await start_run(self._engine, created))

    async def _created(self, row: RunRow) -> RunCreated:
        records = await self._engine.core.store.first_records([row.run])
        created = decode_record(records[row.run].body)
        assert isinstance(created, RunCreated)
        return created

    async def _find(self, request: web.Request) -> RunRow:
        """The run at this address, if it is a job's and whoever asks sees its environment."""
        run_id, own = request.match_info["id"], principal_of(request).environment
        with suppress(ValueError):  # no UUID, and no run either
            run_id = str(UUID(run_id))
        row = await self._engine.core.store.run(run_id)
        if row is None or row.job is None or own not in (None, row.environment):
            raise RunNotFound(run_id)
        return row


async def start_run(engine: Engine, created: RunCreated) -> Resource:
    """Start a run of a job; it, as it is then."""
    run = await engine.start_created(engine.registered(WORKFLOW), created, uuid_of(engine.core.randomness.token()))
    row = await engine.core.store.run(run.id)
    assert row is not None, "it is durable"
    [resource] = await _resources(engine, [row])
    return resource


async def _resources(engine: Engine, rows: Sequence[RunRow]) -> list[Resource]:
    logs = await engine.core.store.records([row.run for row in rows])
    return [RUN.resource(row.id, _attributes(row, [each.body for each in logs[row.run]])) for row in rows]


def _attributes(row: RunRow, bodies: Sequence[bytes]) -> RunAttributes:
    report = report_of(bodies)
    job = report.job
    return RunAttributes(
        job=row.job or "",
        job_version=report.version,
        environment=row.environment,
        trigger=convert(row.trigger, Trigger),
        rerun_of=None if job is None else job.rerun_of,
        retry=None if job is None or job.retry_of is None else RunRetry(job.retry_of, job.attempt),
        scheduled_for=_time(row.scheduled_us),
        status=convert(row.status, Status),
        created_at=from_us(row.created_us),
        started_at=_time(row.started_us),
        finished_at=_time(row.finished_us),
        pending_duration_ms=_duration_ms(row.created_us, row.started_us),
        run_duration_ms=_duration_ms(row.started_us, row.finished_us),
        total_duration_ms=_duration_ms(row.created_us, row.finished_us),
        failure_reason=report.failure,
        error=report.error,
        request=report.request,
        result=report.result,
    )


def _time(at_us: int | None) -> datetime | None:
    return None if at_us is None else from_us(at_us)


def _duration_ms(from_us: int | None, until_us: int | None) -> int | None:
    return None if from_us is None or until_us is None else (until_us - from_us) // MILLISECOND_US
