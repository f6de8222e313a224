"""Lists of runs as SQL would give them: which rows fit a query, in which order."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import UNSET

from durably.store.rows import RunOrder, RunQuery, RunRow

__all__ = ["page", "tallied"]

FILTERS = ("status", "phase", "workflow", "trigger", "environment", "event")
INTERVALS = ("created", "started", "finished", "scheduled")

VALUES: Mapping[RunOrder, Callable[[RunRow], Any]] = {
    "created": lambda row: row.created_us,
    "started": lambda row: row.started_us,
    "finished": lambda row: row.finished_us,
    "scheduled": lambda row: row.scheduled_us,
    "duration": lambda row: None if row.finished_us is None else row.finished_us - row.created_us,
    "status": lambda row: row.status,
    "job": lambda row: row.job,
}


def page(rows: Iterable[RunRow], query: RunQuery) -> list[RunRow]:
    """One page of the runs that fit, in the order that is asked for."""
    value = VALUES[query.order]
    found = sorted(_fitting(rows, query), key=lambda row: row.run, reverse=query.descending)
    valued = sorted((row for row in found if value(row) is not None), key=value, reverse=query.descending)
    ordered = [*valued, *(row for row in found if value(row) is None)]
    return [row for row in ordered if _is_behind(value(row), row.run, query)][: query.limit]


def tallied(rows: Iterable[RunRow], query: RunQuery, bucket_us: int) -> list[tuple[int, str, int]]:
    """How many of the runs that fit were created in each bucket, by status."""
    counts = Counter(
        (row.created_us // bucket_us * bucket_us if bucket_us else 0, row.status) for row in _fitting(rows, query)
    )
    return [(bucket, status, count) for (bucket, status), count in sorted(counts.items())]


def _fitting(rows: Iterable[RunRow], query: RunQuery) -> list[RunRow]:
    found = [row for row in rows if _matches(row, query)]
    if not query.latest_only:
        return found
    ended = sorted((row for row in found if row.phase is None), key=lambda row: row.run)
    return list({(row.job, row.environment): row for row in ended}.values())


def _matches(row: RunRow, query: RunQuery) -> bool:
    return (
        all(not (wanted := getattr(query, name)) or getattr(row, name) in wanted for name in FILTERS)
        and _is_job_meant(row.job, query.job)
        and (query.origin is UNSET or row.origin == query.origin)
        and all(_is_within(row, query, name) for name in INTERVALS)
    )


def _is_job_meant(job: str | None, wanted: tuple[str, ...] | None) -> bool:
    if wanted is None:
        return job is None
    return job is not None and (not wanted or job in wanted)


def _is_within(row: RunRow, query: RunQuery, name: str) -> bool:
    """A run without a value is in no interval."""
    from_us, until_us = getattr(query, f"{name}_from_us"), getattr(query, f"{name}_until_us")
    if from_us is None and until_us is None:
        return True
    at_us = getattr(row, f"{name}_us")
    return at_us is not None and (from_us is None or at_us >= from_us) and (until_us is None or at_us < until_us)


def _is_behind(value: Any, run: int, query: RunQuery) -> bool:
    """Whether a run comes later in the list than the one the query begins behind."""
    if query.before is None:
        return True
    last, last_run = query.before
    if value is None or last is None:
        later = run < last_run if query.descending else run > last_run
        return value is None and (last is not None or later)
    place, last_place = (value, run), (last, last_run)
    return place < last_place if query.descending else place > last_place
