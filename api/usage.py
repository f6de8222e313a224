"""`/api/v1/usage`: this month's runs of jobs beside their quota; `/api/v1/task-usage`: what was used, day by day."""

import re
from datetime import UTC, date, datetime
from typing import Literal

from aiohttp import web
from msgspec import Struct

from durably import Engine
from durably.api.access import visible
from durably.api.errors import Problem
from durably.api.jsonapi import Resource, document, numbered
from durably.api.operations import Kind, Many, One, Operation, Parameter
from durably.api.queries import BY_NUMBER, ListQuery, filter_by, in_order, sort_by
from durably.engine.execution.usage import DAY_US
from durably.engine.log.records import from_us, to_us
from durably.store import UsageRow

__all__ = ["LAST_DAY", "TASK_USAGE_PATH", "TaskUsage", "Usage", "task_usage"]

PATH = "/api/v1/usage"
TASK_USAGE_PATH = "/api/v1/task-usage"
CURRENT = "current"
UNLIMITED = -1
SORTS = ("day", "environment", "workflow", "runs", "tasks")
LAST_DAY = 10_000_000
"""After the year 9999, counted from 1970."""


class UsageAttributes(Struct):
    """A month of jobs, `YYYY-MM` in UTC. -1 is no limit. Only jobs that stay count as active, not one-off ones."""

    period: str
    runs_used: int
    """Runs that have begun. One that was canceled before is not counted."""
    tasks_used: int
    """One for each run and all its retries."""
    runs_included: int
    active_jobs: int
    active_jobs_limit: int


class TaskUsage(Struct):
    """What runs of one workflow have used in one environment on one day, in UTC.

    `tasks` are steps, however many attempts each of them took; `runs` are those that began.
    """

    day: date
    environment: str
    workflow: str
    runs: int
    tasks: int


USAGE = Kind("usage", UsageAttributes)
TASK_USAGE = Kind("task_usage", TaskUsage)
DAYS = "filter[day]"
LIST = (
    filter_by("workflow"),
    filter_by("environment"),
    Parameter(DAYS, str, "Only days in an interval such as `[2026-01-01,2026-02-01)`, `*` for no bound"),
    sort_by(SORTS, "-day"),
    *BY_NUMBER,
)
PERIOD = Parameter("filter[period]", Literal["current"], "Which month; there is only this one")


class Usage:
    """What was used, and of how much."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def operations(self) -> list[Operation]:
        one, many = {200: One(USAGE)}, {200: Many(TASK_USAGE)}
        return [
            Operation("GET", PATH, self.read, "This month's runs of jobs", "read", query=(PERIOD,), answers=one),
            Operation("GET", TASK_USAGE_PATH, self.list, "Tasks used, by day", "read", query=LIST, answers=many),
        ]

    async def read(self, request: web.Request) -> web.Response:
        """The current month."""
        period = ListQuery(request).single(PERIOD.name)
        if period not in (None, CURRENT):
            raise Problem(400, "invalid_parameter", f"{PERIOD.name} can only be {CURRENT}", parameter=PERIOD.name)
        quota, jobs = self._engine.core.quota, self._engine.core.jobs
        used = await quota.used()
        attributes = UsageAttributes(
            period=quota.period.name,
            runs_used=used.runs,
            tasks_used=used.tasks,
            runs_included=UNLIMITED if quota.included is None else quota.included,
            active_jobs=sum(job.kind != "one_off" for job in jobs.all()),
            active_jobs_limit=UNLIMITED,
        )
        return document(USAGE.resource(CURRENT, attributes))

    async def list(self, request: web.Request) -> web.Response:
        """Usage by day, environment and workflow."""
        query = ListQuery(request)
        workflows, environments = query.filter("workflow"), visible(request, query.filter("environment"))
        from_day, until_day = _days(query.single(DAYS))
        orders = query.sort(SORTS, "-day")
        rows = await self._engine.core.store.usage(from_day, until_day)
        found = [
            row
            for row in rows
            if (not workflows or row.workflow in workflows) and (not environments or row.environment in environments)
        ]
        return numbered(request, in_order(found, orders, getattr), query.page(), _resource)


def _resource(row: UsageRow) -> Resource:
    used = task_usage(row)
    return TASK_USAGE.resource(f"{used.day}/{used.environment}/{used.workflow}", used)


def task_usage(row: UsageRow) -> TaskUsage:
    """A row of the store as it is shown."""
    return TaskUsage(from_us(row.day * DAY_US).date(), row.environment, row.workflow, row.runs, row.tasks)


_INTERVAL = re.compile(r"([\[(])\s*(\*|\d{4}-\d\d-\d\d)\s*,\s*(\*|\d{4}-\d\d-\d\d)\s*([\])])")


def _days(text: str | None) -> tuple[int, int]:
    """From a day, inclusive, until another, exclusive, as `[a,b)` says it."""
    if text is None:
        return 0, LAST_DAY
    found = _INTERVAL.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        opening, first, last, closing = found.groups()
        from_day = 0 if first == "*" else _day(first) + (opening == "(")
        return from_day, LAST_DAY if last == "*" else _day(last) + (closing == "]")
    except ValueError:
        detail = f"{DAYS} is {text[:100]!r}; it is an interval of days like [2026-01-01,2026-02-01), * for no bound"
        raise Problem(400, "invalid_parameter", detail, parameter=DAYS) from None


def _day(text: str) -> int:
    return to_us(datetime.fromisoformat(text).replace(tzinfo=UTC)) // DAY_US
