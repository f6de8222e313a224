"""`/api/v1/run_stats`: how the runs of jobs are doing, at a glance."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from durably import Engine
from durably.api.access import visible
from durably.api.errors import Problem
from durably.api.jsonapi import document
from durably.api.operations import Kind, One, Operation, Parameter
from durably.api.queries import ListQuery, filter_by, filter_by_time
from durably.engine.jobs.chain import FailureReason
from durably.engine.jobs.report import report_of
from durably.engine.log.records import from_us
from durably.store import RunQuery
from durably.store.runtime import SECOND_US

__all__ = ["RunStats"]

PATH = "/api/v1/run_stats"
CURRENT = "current"
RECENT = 3
MINUTE_US = 60 * SECOND_US
BUCKETS: Mapping[str, int] = {
    "1m": MINUTE_US,
    "5m": 5 * MINUTE_US,
    "15m": 15 * MINUTE_US,
    "1h": 60 * MINUTE_US,
    "6h": 360 * MINUTE_US,
    "1d": 1440 * MINUTE_US,
}


class Tally(Struct):
    """Runs by status."""

    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0


class Bucket(Struct):
    """Runs that were created within some time, which begins at `bucket`. Where there are none, there is no bucket."""

    bucket: datetime
    count: int


class RecentFailure(Struct):
    """A run that has failed. `job_name` is None when the job was deleted."""

    job: str
    job_name: str | None
    failure_reason: FailureReason | None
    created_at: datetime


class NextScheduled(Struct):
    """What fires next: a schedule, or a retry that waits."""

    job: str
    job_name: str | None
    scheduled_for: datetime
    environment: str


class RunStatsAttributes(Struct):
    """All but `next_scheduled` of the runs that fit the filters; that one looks ahead, in the same environments."""

    total: int
    tally: Tally
    buckets: list[Bucket] | None
    """None unless a size was asked for."""
    recent_failures: list[RecentFailure]
    next_scheduled: NextScheduled | None


STATS = Kind("run_stat", RunStatsAttributes)
QUERY = (
    filter_by_time("created_at"),
    filter_by("environment"),
    Parameter("bucket", Literal[tuple(BUCKETS)], "Also count runs in buckets of this size"),
)


class RunStats:
    """One resource, `current`, made when it is asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def operations(self) -> list[Operation]:
        return [
            Operation("GET", PATH, self.read, "How runs of jobs do", "read", query=QUERY, answers={200: One(STATS)})
        ]

    async def read(self, request: web.Request) -> web.Response:
        """Counts, the latest failures, and what comes next."""
        query = ListQuery(request)
        created = query.interval("created_at")
        environments = visible(request, query.filter("environment"))
        bucket = query.single("bucket")
        if bucket is not None and bucket not in BUCKETS:
            detail = f"bucket is {bucket[:100]!r}; it is one of {', '.join(BUCKETS)}"
            raise Problem(400, "invalid_parameter", detail, parameter="bucket")
        wanted = RunQuery(
            job=(), environment=environments, created_from_us=created.from_us, created_until_us=created.until_us
        )
        tally = Counter({status: count for _, status, count in await self._engine.core.store.tally(wanted, 0)})
        stats = RunStatsAttributes(
            total=tally.total(),
            tally=Tally(**{status.lower(): count for status, count in tally.items()}),
            buckets=None if bucket is None else await self._buckets(wanted, BUCKETS[bucket]),
            recent_failures=await self._failures(wanted),
            next_scheduled=await self._next(environments),
        )
        return document(STATS.resource(CURRENT, stats))

    async def _buckets(self, wanted: RunQuery, bucket_us: int) -> list[Bucket]:
        counts: Counter[int] = Counter()
        for beginning_us, _, count in await self._engine.core.store.tally(wanted, bucket_us):
            counts[beginning_us] += count
        return [Bucket(from_us(beginning_us), count) for beginning_us, count in sorted(counts.items())]

    async def _failures(self, wanted: RunQuery) -> list[RecentFailure]:
        store = self._engine.core.store
        rows = await store.runs(replace(wanted, status=("FAILED",), limit=RECENT))
        logs = await store.records([row.run for row in rows])
        return [
            RecentFailure(
                job=row.job or "",
                job_name=self._name(row.job or ""),
                failure_reason=report_of(each.body for each in logs[row.run]).failure,
                created_at=from_us(row.created_us),
            )
            for row in rows
            if row.run in logs  # else it was deleted just now
        ]

    async def _next(self, environments: Sequence[str]) -> NextScheduled | None:
        """The soonest of what is still to come: runs that wait for their time, and times of schedules."""
        now_us = self._engine.core.clock.now_us()
        waiting = RunQuery(
            job=(),
            status=("PENDING",),
            environment=tuple(environments),
            scheduled_from_us=now_us,
            order="scheduled",
            descending=False,
            limit=1,
        )
        rows = await self._engine.core.store.runs(waiting)
        found = [(row.scheduled_us or 0, row.job or "", row.environment) for row in rows]
        due_us, job, environment = min([*found, *self._due(environments)], default=(None, "", ""))
        if due_us is None:
            return None
        return NextScheduled(job, self._name(job), from_us(due_us), environment)

    def _due(self, environments: Sequence[str]) -> Iterator[tuple[int, str, str]]:
        jobs = self._engine.core.jobs
        for job in jobs.all():
            for environment, due_us in jobs.next_runs_us(job).items():
                if not environments or environment in environments:
                    yield due_us, job.id, environment

    def _name(self, job_id: str) -> str | None:
        job = self._engine.core.jobs.find(job_id)
        return None if job is None else job.fields.name
