"""Keys and environments written by another process than the engine's, before it, beside it and against it."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from durably.store import (
    NotAStore,
    StoreLocked,
    StoreUnavailable,
    TakenDocument,
    administer,
)
from durably.store.rows import Append, LogRow, Refused
from durably.store.sqlite import SqliteAdministration, SqliteStore, connection, migrate
from tests.store.row_makers import commit, created, document, save

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as plain:
        [(rows,)] = plain.execute(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608 - a name from below
        return int(rows)


async def test_the_first_command_ever_makes_the_store(path: Path) -> None:
    async with administer(f"sqlite:///{path}") as administration:
        await administration.save(document("k", kind="key"))
        assert await administration.documents("key") == [document("k", kind="key")]
    store = SqliteStore(path)
    await store.open()
    assert await store.documents("key") == [document("k", kind="key")]
    await store.close()


async def test_what_is_written_beside_an_engine_is_seen_at_its_next_read(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await commit(store, created(store.new_run()))
    sessions = count(path, "sessions")
    async with SqliteAdministration(path) as administration:
        await administration.save(document("k", kind="key"))
        assert await store.documents("key") == [document("k", kind="key")]
        assert await commit(store, Append(1, [LogRow(1, 2, 0, b"{}")])) == [None], "it still has its session"
        assert await commit(store, save("k", 2, "key")) == [None], "the engine writes them too"
        assert await administration.documents("key") == [document("k", 2, "key")]
    assert count(path, "sessions") == sessions
    await store.close()


async def test_who_comes_second_is_told(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    async with SqliteAdministration(path) as here, SqliteAdministration(path) as there:
        await here.save(document("k", kind="key"))
        with pytest.raises(TakenDocument, match=r"key 'k' exists already\. Read it again"):
            await there.save(document("k", kind="key"))
        await there.save(document("k", 2, "key"))
        with pytest.raises(TakenDocument, match="has version 2"):
            await here.save(document("k", 2, "key", body=b'{"lost":"update"}'))
        [refused] = await commit(store, save("k", 2, "key"))
        assert isinstance(refused, Refused)
        assert await store.documents("key") == [document("k", 2, "key")]
    await store.close()


async def test_many_at_once_beside_a_busy_engine_lose_nothing(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await commit(store, created(store.new_run()))

    async def work() -> None:
        for seq in range(2, 40):
            assert await commit(store, Append(1, [LogRow(1, seq, 0, b"{}")])) == [None]

    async with SqliteAdministration(path) as administration:
        names = [f"k{number}" for number in range(10)]
        await asyncio.gather(work(), *(administration.save(document(name, kind="key")) for name in names))
        assert sorted(each.id for each in await administration.documents("key")) == names
    assert len((await store.records([1]))[1]) == 39
    await store.close()


async def test_what_belongs_to_the_engine_is_not_written(path: Path) -> None:
    async with SqliteAdministration(path) as administration:
        with pytest.raises(ValueError, match="only the engine that has"):
            await administration.save(document("hourly", kind="job"))
    with pytest.raises(StoreUnavailable, match="not open"):
        await administration.save(document("k", kind="key"))


WRITER = """
import sqlite3, sys
plain = sqlite3.connect(sys.argv[1], isolation_level=None)
plain.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


async def test_a_store_that_stays_locked_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_S", 0.01)
    async with SqliteAdministration(path) as administration:
        with subprocess.Popen(  # noqa: ASYNC220 - the test has nothing else to do
            [sys.executable, "-c", WRITER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            with pytest.raises(StoreUnavailable, match="locked"):
                await administration.save(document("k", kind="key"))
            other.kill()
        await administration.save(document("k", kind="key"))


def older(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as plain:
        migrate.migrate(plain, "older", migrate.MIGRATIONS[:2])


async def test_an_older_store_is_brought_up_to_date(path: Path) -> None:
    older(path)
    async with SqliteAdministration(path) as administration:
        await administration.save(document("k", kind="key"))


async def test_an_older_store_is_left_to_the_engine_that_has_it(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreLocked, match="in use by another engine"):
        await SqliteAdministration(path).open()
    await store.close()


async def test_another_programs_database_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("CREATE TABLE accounts (id)")
    before = path.read_bytes()
    with pytest.raises(NotAStore, match="another program"):
        await SqliteAdministration(path).open()
    assert path.read_bytes() == before
