"""Deleting what is old, a little at a time, inside a writer's transaction."""

import sqlite3

from durably.store.rows import Forget
from durably.store.sqlite.queries import QUERIES, json_list

__all__ = ["forget_events", "forget_runs"]

RECORDS_AT_ONCE = 10_000
"""Records deleted in one go unless one run alone has more: others wait for the writer meanwhile."""


def forget_runs(connection: sqlite3.Connection, operation: Forget) -> list[int]:
    """Delete runs that have ended, with everything about them; their numbers."""
    rows = connection.execute(QUERIES["old_runs"], (operation.before_us, operation.limit)).fetchall()
    runs: list[int] = []
    ids: list[str] = []
    records = 0
    for run, run_id, length in rows:
        records += length
        if runs and records > RECORDS_AT_ONCE:
            break
        runs.append(run)
        ids.append(run_id)
    if runs:
        connection.execute(QUERIES["keep_last_run"])
        connection.execute(QUERIES["forget_deliveries"], (json_list(ids),))
        for table in ("log", "inbox", "waits", "runs"):
            connection.execute(QUERIES[f"forget_{table}"], (json_list(runs),))
    return runs


def forget_events(connection: sqlite3.Connection, operation: Forget) -> int:
    """Delete events that no open run may look back to; how many."""
    return connection.execute(QUERIES["forget_events"], (operation.before_us, operation.limit)).rowcount
