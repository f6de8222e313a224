"""Which runs to list, as users say it: the arguments of `Engine.list_runs` and of `Client.list_runs`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypedDict

from durably.engine.log.records import to_us
from durably.store import RunQuery

__all__ = ["TIMES", "VALUES", "RunFilters", "to_query"]

VALUES = ("status", "phase", "workflow", "trigger", "environment", "event")
"""What a run has one of: filters take a value, or several of which any will do."""
TIMES = ("created", "started", "finished", "scheduled")
"""When something happened to a run: filters take `from`, with the time itself, and `until`, without it."""


class RunFilters(TypedDict, total=False):
    """Runs that fit all of these are listed, at most `limit` of them, 50 unless given."""

    status: str | Sequence[str]
    phase: str | Sequence[str]
    workflow: str | Sequence[str]
    trigger: str | Sequence[str]
    environment: str | Sequence[str]
    event: str | Sequence[str]
    origin: str
    """The run that they are reruns, forks, children or continuations of."""
    created_from: datetime
    created_until: datetime
    started_from: datetime
    started_until: datetime
    finished_from: datetime
    finished_until: datetime
    scheduled_from: datetime
    scheduled_until: datetime
    limit: int


def to_query(filters: RunFilters) -> RunQuery:
    """The same for the store. `TypeError` for a filter that there is not."""
    unknown = sorted(filters.keys() - RunFilters.__annotations__.keys())
    if unknown:
        known = ", ".join(RunFilters.__annotations__)
        raise TypeError(f"runs cannot be listed by {unknown[0]!r}; the filters are {known}")
    fields: dict[str, Any] = {name: value for name, value in filters.items() if name in ("origin", "limit")}
    for name in VALUES:
        value: Any = filters.get(name, ())
        fields[name] = (value,) if isinstance(value, str) else tuple(value)
    for name in TIMES:
        for side in ("from", "until"):
            at: Any = filters.get(f"{name}_{side}")
            fields[f"{name}_{side}_us"] = None if at is None else to_us(at)
    return RunQuery(**fields)
