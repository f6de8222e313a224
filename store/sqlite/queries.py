"""The named statements of `queries.sql`, and the one that is put together: the list of runs."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import msgspec

from durably.store.rows import RunQuery

__all__ = ["QUERIES", "json_list", "listing", "parse"]


def parse(text: str) -> dict[str, str]:
    """Statements by name. Each begins with a line `-- name: …`; its other comment lines describe it."""
    statements: dict[str, str] = {}
    for section in text.split("-- name: ")[1:]:
        name, _, rest = section.partition("\n")
        lines = [line for line in rest.splitlines() if line.strip() and not line.startswith("--")]
        if name in statements:
            raise ValueError(f"two statements are called {name}")
        statements[name] = "\n".join(lines)
    return statements


QUERIES: Mapping[str, str] = parse(files("durably.store.sqlite").joinpath("queries.sql").read_text("utf-8"))


def json_list(values: object) -> str:
    """A list as the one parameter that `json_each(?)` takes."""
    return msgspec.json.encode(values).decode()


FILTERS = {
    "status": "status IN (SELECT value FROM json_each(?))",
    "phase": "phase IN (SELECT value FROM json_each(?))",
    "workflow": "workflow IN (SELECT value FROM json_each(?))",
    "trigger": '"trigger" IN (SELECT value FROM json_each(?))',
    "environment": "environment IN (SELECT value FROM json_each(?))",
    "event": "event IN (SELECT value FROM json_each(?))",
}
BOUNDS = {
    "created_from_us": "created_us >= ?",
    "created_until_us": "created_us < ?",
    "before": "run < ?",
}


def listing(query: RunQuery) -> tuple[str, list[Any]]:
    """The statement for one page of runs, newest first, and its parameters.

    Only the conditions that are asked for are in it, so that SQLite can use an index where there is one.
    """
    conditions: list[str] = []
    parameters: list[Any] = []
    for field, condition in FILTERS.items():
        if wanted := getattr(query, field):
            conditions.append(condition)
            parameters.append(json_list(wanted))
    for field, condition in BOUNDS.items():
        if (bound := getattr(query, field)) is not None:
            conditions.append(condition)
            parameters.append(bound)
    if query.origin is not msgspec.UNSET:
        conditions.append("origin = ?")
        parameters.append(query.origin)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"{QUERIES['runs']} {where} ORDER BY run DESC LIMIT ?", [*parameters, query.limit]
