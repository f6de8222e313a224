"""One step that an event triggers: a run of its own, with up to ten retries.

curl -d '{"name": "app/button.clicked", "data": {"button": "buy"}}' http://127.0.0.1:8484/e/any

An attempt may die after its effect and before its record, and is then made again. The key is the same for all
attempts, so the second insert finds the row of the first and does nothing: executed at least once, one click.
"""

import sqlite3
from contextlib import closing

from durably import Event, current, step

DATABASE = "clicks.db"
TABLE = "CREATE TABLE IF NOT EXISTS clicks (key TEXT PRIMARY KEY, button TEXT NOT NULL, at TEXT NOT NULL)"


@step(on="app/button.clicked", retries=10)
def record_click(event: Event) -> None:  # an ordinary function: it runs in a thread, and may block
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute(TABLE)
        database.execute(
            "INSERT INTO clicks VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (current().idempotency_key, event.data["button"], event.ts.isoformat()),
        )
