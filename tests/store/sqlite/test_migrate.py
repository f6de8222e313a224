"""What becomes of the rows of an older store."""

import sqlite3
from pathlib import Path

import pytest

from durably.store.rows import Change, Forget, Forgotten, InboxRow, Put, RunQuery, Written
from durably.store.sqlite import SqliteStore, migrate
from tests.store.row_makers import arrival, commit, group

pytestmark = pytest.mark.anyio

RUN = """
INSERT INTO runs (run, id, workflow, version, "trigger", environment, event_id, test, status, phase, tasks, seq,
                  created_us)
VALUES (?, ?, 'fulfil', 1, 'EVENT', ?, ?, 0, 'RUNNING', 'waiting', 0, 1, 10)
"""
EVENT = "INSERT INTO events (id, name, received_us, digest, body) VALUES (?, 'parcel/shipped', 10, 'd', '{}')"
WAIT = "INSERT INTO waits (run, key, event, paths, topic) VALUES (?, 'k', 'parcel/shipped', '[]', 't')"


def of_version_2(path: Path, *environments: str) -> None:
    """A store with one event and one run that it started and that waits, in each of these environments."""
    older = sqlite3.connect(path, isolation_level=None)
    migrate.migrate(older, "older", migrate.MIGRATIONS[:2])
    for run, environment in enumerate(environments, 1):
        older.execute(RUN, (run, f"run-{run}", environment, f"e{run}"))
        older.execute("INSERT INTO log (run, seq, at_us, body) VALUES (?, 1, 10, '{}')", (run,))
        older.execute(EVENT, (f"e{run}",))
        older.execute(WAIT, (run,))
    older.execute(EVENT, ("for nobody",))
    older.close()


async def test_events_and_waits_belong_to_the_environment_of_their_runs(tmp_path: Path) -> None:
    of_version_2(tmp_path / "app.db", "production", "staging")
    store = SqliteStore(tmp_path / "app.db")
    await store.open()
    assert [row.id for _, row in await store.events_since("parcel/shipped", (0, 0), 9)] == ["e1"]
    there = await store.events_since("parcel/shipped", (0, 0), 9, "staging")
    assert [row.id for _, row in there] == ["e2", "for nobody"], "the last of them is the newest run's"
    assert await commit(store, arrival("e", "t")) == [Written(woken=(1,))]
    assert await commit(store, arrival("e", "t", environment="staging")) == [Written(woken=(2,))]
    await store.close()


async def test_events_of_a_store_without_runs_are_productions(tmp_path: Path) -> None:
    of_version_2(tmp_path / "app.db")
    store = SqliteStore(tmp_path / "app.db")
    await store.open()
    assert await store.event("for nobody") is not None
    await store.close()


async def test_runs_of_an_older_store_are_listed_go_on_and_are_forgotten(tmp_path: Path) -> None:
    of_version_2(tmp_path / "app.db", "production")
    store = SqliteStore(tmp_path / "app.db")
    await store.open()
    [row] = await store.runs(RunQuery())
    assert (row.id, row.job, row.scheduled_us) == ("run-1", None, None)
    over = Change("SUCCEEDED", None, None, 1, 2, 10, 20)
    assert await commit(store, group(1, 2, change=over)) == [None]
    assert "Missing" in repr(await commit(store, Put(InboxRow(1, 0, b"{}"))))
    assert await commit(store, Forget(30, 9)) == [Forgotten(1, 2)]
    await store.close()
