"""The statements that are put together: lists and tallies of runs.

Only the conditions that are asked for are in them, so that SQLite can use an index where there is one. Names come from
the tables of this module, values are parameters.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from durably.store.rows import RunOrder, RunQuery
from durably.store.sqlite.queries import QUERIES, json_list

__all__ = ["listing", "tally"]

FILTERS: Mapping[str, str] = {
    "status": "status",
    "phase": "phase",
    "workflow": "workflow",
    "trigger": '"trigger"',
    "environment": "environment",
    "event": "event",
    "job": "job",
}
BOUNDS: Mapping[str, str] = {
    "created_from_us": "created_us >= ?",
    "created_until_us": "created_us < ?",
    "started_from_us": "started_us >= ?",
    "started_until_us": "started_us < ?",
    "finished_from_us": "finished_us >= ?",
    "finished_until_us": "finished_us < ?",
    "scheduled_from_us": "scheduled_us >= ?",
    "scheduled_until_us": "scheduled_us < ?",
}
ORDERS: Mapping[RunOrder, str] = {
    "created": "created_us",
    "started": "started_us",
    "finished": "finished_us",
    "scheduled": "scheduled_us",
    "duration": "finished_us - created_us",
    "status": "status",
    "job": "job",
}
NEVER_NULL = ("created", "status")
ANY_OF = "IN (SELECT value FROM json_each(?))"
ALL_OF_TIME_US = 2**63 - 1

OPEN = {"PENDING", "RUNNING"}
INDEXED: Mapping[str, str] = {
    "runs_pending": "status = 'PENDING'",
    "runs_open": "phase IS NOT NULL",
    "runs_failed": "status = 'FAILED'",
    "runs_finished": "phase IS NULL",
}
"""Indices of those runs of which this holds, in their own words: a parameter would not let SQLite use them."""

Part = tuple[str, list[Any]]
"""A piece of SQL and its parameters."""


def listing(query: RunQuery) -> Part:
    """The statement for one page of runs."""
    where, parameters = _where(query)
    if query.before is not None:
        behind, last = _behind(query, *query.before)
        where, parameters = f"{where} AND {behind}", [*parameters, *last]
    direction = "DESC" if query.descending else "ASC"
    # Written out only where it matters: it keeps SQLite from reading an index backwards.
    nulls = "" if query.descending or query.order in NEVER_NULL else " NULLS LAST"
    order = f"ORDER BY {ORDERS[query.order]} {direction}{nulls}, run {direction}"
    return f"{QUERIES['runs']} {where} {order} LIMIT ?", [*parameters, query.limit]


def tally(query: RunQuery, bucket_us: int) -> Part:
    """The statement that counts runs by the bucket they were created in and their status."""
    where, parameters = _where(query)
    width = bucket_us or ALL_OF_TIME_US
    return f"{QUERIES['tally']} {where} GROUP BY 1, 2 ORDER BY 1, 2", [width, width, *parameters]


def _where(query: RunQuery) -> Part:
    """Which of the runs, behind `FROM runs`: the index to look into, and the conditions."""
    conditions, parameters = _conditions(query)
    where = f"WHERE {' AND '.join(conditions)}"
    if query.latest_only:
        return f"WHERE run IN ({QUERIES['latest']} {where} AND phase IS NULL GROUP BY job, environment)", parameters
    index = _index(query)
    return where if index is None else f"INDEXED BY {index} {where} AND {INDEXED[index]}", parameters


def _index(query: RunQuery) -> str | None:
    """The index that has few runs besides those that are asked for, where SQLite could not know."""
    if query.status == ("PENDING",):
        return "runs_pending"
    if query.phase or (query.status and OPEN.issuperset(query.status)):
        return "runs_open"
    if query.status == ("FAILED",) and not (query.workflow or query.job):
        return "runs_failed"
    if (query.finished_from_us, query.finished_until_us) != (None, None):
        return "runs_finished"
    return None


def _conditions(query: RunQuery) -> tuple[list[str], list[Any]]:
    conditions = ["job IS NULL" if query.job is None else "job IS NOT NULL"]
    parameters: list[Any] = []
    for field, column in FILTERS.items():
        if wanted := getattr(query, field):
            condition, parameter = _any_of(column, wanted)
            conditions.append(condition)
            parameters += parameter
    for field, condition in BOUNDS.items():
        if (bound := getattr(query, field)) is not None:
            conditions.append(condition)
            parameters.append(bound)
    if query.origin is None:
        conditions.append("origin IS NULL")
    elif query.origin is not UNSET:
        conditions.append("origin = ?")
        parameters.append(query.origin)
    return conditions, parameters


def _any_of(column: str, wanted: tuple[str, ...]) -> Part:
    """That a column has one of these values. Only for a single one an index also gives the order."""
    if len(wanted) == 1:
        return f"{column} = ?", [*wanted]
    return f"{column} {ANY_OF}", [json_list(wanted)]


def _behind(query: RunQuery, value: int | str | None, run: int) -> Part:
    """That a run comes later in the list than the one of this value and number."""
    column, sign = ORDERS[query.order], "<" if query.descending else ">"
    if value is None:
        return f"{column} IS NULL AND run {sign} ?", [run]
    behind = f"({column}, run) {sign} (?, ?)"
    return (behind if query.order in NEVER_NULL else f"({behind} OR {column} IS NULL)"), [value, run]
