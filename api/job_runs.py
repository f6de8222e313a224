"""`/api/v1/runs`: runs of jobs. Runs of workflows have an address of their own: the vendor's clients know none."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args
from uuid import UUID

from aiohttp import web
from msgspec import Raw, Struct, convert

from durably import DurablyError, Engine, RunNotFound
from durably.api.access import principal_of, visible
from durably.api.availability import refuse_work
from durably.api.errors import Problem
from durably.api.jsonapi import Resource, collection, document
from durably.api.operations import Kind, Many, One, Operation, Parameter
from durably.api.queries import (
    AFTER,
    ListQuery,
    Order,
    by_cursor,
    filter_by,
    filter_by_time,
    next_cursor,
    place,
    sort_by,
)
from durably.engine.jobs.chain import WORKFLOW, FailureReason, uuid_of
from durably.engine.jobs.report import RequestSnapshot, RunResult, report_of
from durably.engine.log.records import RunCreated, decode_record, from_us
from durably.engine.values.codec import encode
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

AT_ONCE = 20
"""Runs that are decoded in one go: 64 KiB of body each take 5 ms together."""

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
            before=await self._after(request, query, order),
            limit=size + 1,  # one more tells whether there is another page
        )
        found = await self._engine.core.store.runs(wanted)
        following = next_cursor(order, wanted, found)
        return collection(request, await _resources(self._engine, found[:size]), size=size, after=following)

    async def _after(self, request: web.Request, query: ListQuery, order: Order) -> tuple[Any, int] | None:
        """Where the page begins: behind a cursor, or behind a run, for the vendor's SDK shows its users no cursor."""
        with suppress(ValueError, RunNotFound):
            row = await self._find(request, str(UUID(request.query.get(AFTER, ""))))
            query.single(AFTER)
            return place(row, ORDERS[order.name])
        return query.page_after(order)

    async def read(self, request: web.Request) -> web.Response:
        """One run."""
        return document(await _resource(self._engine, await self._find(request, request.match_info["id"])))

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel a run that has not ended; 409 when it has. A request that is under way may arrive all the same."""
        row = await self._find(request, request.match_info["id"])
        run = await self._engine.get_run(row.id)
        if not await run.cancel():
            raise Problem(409, "conflict", f"run {row.id!r} has ended {row.status}; it cannot be canceled")
        with suppress(DurablyError, TimeoutError):  # canceled, as it should; or it has ended otherwise, which is shown
            await run.result(timeout=CANCEL_S)
        return await self.read(request)

    async def rerun(self, request: web.Request) -> web.Response:
        """A new run of the same job in the same environment, as the job is now; 409 when it was deleted."""
        refuse_work(self._engine)
        row = await self._find(request, request.match_info["id"])
        created = self._engine.core.jobs.again(row.id, await self._created(row))
        return document(await start_run(self._engine, created))

    async def _created(self, row: RunRow) -> RunCreated:
        first = (await self._engine.core.store.first_records([row.run])).get(row.run)
        if first is None:  # deleted just now
            raise RunNotFound(row.id)
        created = decode_record(first.body)
        assert isinstance(created, RunCreated)
        return created

    async def _find(self, request: web.Request, run_id: str) -> RunRow:
        """The run of that id, if it is a job's and whoever asks sees its environment."""
        own = principal_of(request).environment
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
    return await _resource(engine, row)


async def _resources(engine: Engine, rows: Sequence[RunRow]) -> list[Resource]:
    """Runs as they are shown, encoded already, a few at a time: their bodies may be 100 MB. One that was deleted while
    the page was read is left out.
    """
    found: list[Resource] = []
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        logs = await engine.core.store.records([row.run for row in part])
        for row in part:
            if row.run in logs:
                attributes = _attributes(row, [each.body for each in logs[row.run]])
                found.append(RUN.resource(row.id, Raw(encode(attributes))))
        await asyncio.sleep(0)
    return found


async def _resource(engine: Engine, row: RunRow) -> Resource:
    for resource in await _resources(engine, [row]):
        return resource
    raise RunNotFound(row.id)


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
