"""What only a file has: settings, the lock, versions, readers beside the engine, damage."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from durably.store.errors import (
    CorruptStore,
    Fenced,
    NewerStore,
    NotAStore,
    StoreFailure,
    StoreLocked,
    StoreUnavailable,
    UnknownOutcome,
)
from durably.store.rows import Append, InboxRow, LogRow, Operation, Put, Result, RunQuery, RunRow, TriggerRow
from durably.store.sqlite import SqliteReader, SqliteStore, connection, migrate, queries

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


async def submit(store: SqliteStore, *batch: Operation) -> list[Result] | StoreFailure:
    future: asyncio.Future[list[Result] | StoreFailure] = asyncio.get_running_loop().create_future()
    store.submit(batch, future.set_result)
    return await future


def created(run: int) -> Append:
    row = RunRow(run=run, id=f"run-{run}", workflow="w", version=1, trigger="MANUAL", environment="production")
    return Append(run, [LogRow(run, 1, 1_500_000, b'{"type":"run.created"}')], created=row)


def group(run: int, seq: int) -> Append:
    return Append(run, [LogRow(run, seq, 2_000_000, b'{"type":"run.started"}')])


# -- settings


async def test_the_settings_are_really_in_force(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked of the writer's own connection, because `synchronous` is not in the file."""
    made: list[sqlite3.Connection] = []

    def settle(opened: sqlite3.Connection, location: str) -> None:
        connection.settle(opened, location)
        made.append(opened)
        answers.append([opened.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted])

    wanted = {"journal_mode": "wal", "synchronous": 2, "application_id": 0, "fullfsync": 1}
    answers: list[list[object]] = []
    monkeypatch.setattr("durably.store.sqlite.session.settle", settle)
    store = SqliteStore(path)
    await store.open()
    await store.reopen()
    await store.close()
    assert answers[0] == list(wanted.values())
    assert answers[1] == list((wanted | {"application_id": migrate.APPLICATION_ID}).values()), "after reopen too"


async def test_a_person_with_only_the_sqlite3_shell_can_read_a_history(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await submit(store, created(store.new_run()), group(1, 2))
    await store.close()
    plain = sqlite3.connect(path)
    assert plain.execute("SELECT * FROM history WHERE id = 'run-1'").fetchall() == [
        ("run-1", 1, "1970-01-01T00:00:01.500Z", "run.created", '{"type":"run.created"}'),
        ("run-1", 2, "1970-01-01T00:00:02.000Z", "run.started", '{"type":"run.started"}'),
    ]
    plain.close()


def test_columns_are_in_the_order_of_the_rows() -> None:
    """The writer passes rows as they are."""
    database = sqlite3.connect(":memory:")
    migrate.migrate(database, "memory")
    columns = [name for _, name, *_ in database.execute("PRAGMA table_info(runs)")]
    assert tuple(columns) == RunRow.__struct_fields__
    database.close()


def test_every_statement_is_valid_and_has_a_description() -> None:
    database = sqlite3.connect(":memory:")
    migrate.migrate(database, "memory")
    text = (Path(queries.__file__).parent / "queries.sql").read_text("utf-8")
    for name, statement in queries.QUERIES.items():
        assert f"-- name: {name}\n-- " in text, "one line that says what it is for"
        count = statement.count("?")
        database.execute(f"EXPLAIN {statement}", ["[]"] * count or {"token": "", "now_us": 0})
    database.close()


def test_two_statements_of_one_name_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="called a"):
        queries.parse("-- name: a\nSELECT 1\n-- name: a\nSELECT 2")


# -- the lock and the session

HOLDER = """
import asyncio, sys
from durably.store.sqlite import SqliteStore
async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    print("open", flush=True)
    sys.stdin.read()
asyncio.run(main())
"""


async def test_a_second_engine_is_refused_and_told_who_has_it(path: Path) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - the test has nothing else to do
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreLocked, match=f"process {holder.pid}"):
            await SqliteStore(path).open()
        async with SqliteStore.reader(path) as reader:
            assert await reader.runs(RunQuery()) == []
        holder.kill()
    store = SqliteStore(path)
    await store.open()  # the lock of a dead process is no lock
    with pytest.raises(StoreLocked):
        await SqliteStore(path).open()
    await store.close()


def test_a_program_that_forgets_to_close_ends_nevertheless(path: Path) -> None:
    """aiosqlite's threads are not daemons: measured, such a program had to be killed."""
    subprocess.run([sys.executable, "-c", HOLDER, path], stdin=subprocess.DEVNULL, timeout=20, check=True)


async def test_an_engine_that_lost_its_store_is_fenced(path: Path) -> None:
    """Somebody deletes the lock file and starts a second engine: the session is checked in every write."""
    first, second = SqliteStore(path), SqliteStore(path)
    await first.open()
    assert await submit(first, created(1)) == [None]
    path.with_name("app.db.lock").unlink()
    await second.open()
    assert isinstance(await submit(first, group(1, 2)), Fenced)
    with pytest.raises(Fenced):
        await first.register_triggers([], [])
    with pytest.raises(Fenced):
        await first.reopen()
    assert await submit(second, group(1, 2)) == [None]
    await first.close()
    assert await submit(second, group(1, 3)) == [None], "the fenced one ends its own session only"
    await second.close()


async def test_sessions_are_kept_and_say_which_records_are_theirs(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await submit(store, created(1), group(1, 2))
    await store.reopen()
    await submit(store, group(1, 3))
    plain = sqlite3.connect(path)
    sessions = plain.execute("SELECT first_record, ended_us IS NULL FROM sessions ORDER BY session").fetchall()
    assert sessions == [(1, 0), (3, 1)]
    await store.close()
    assert plain.execute("SELECT count(*) FROM sessions WHERE ended_us IS NULL").fetchone() == (0,)
    plain.close()


async def test_numbers_of_runs_go_on_in_another_process(path: Path) -> None:
    for run in (1, 2):
        store = SqliteStore(path)
        await store.open()
        assert store.new_run() == run
        await submit(store, created(run))
        await store.close()


# -- outcomes that nobody knows


async def test_an_error_that_is_nobodys_fault_is_unknown_and_stays_so_until_reopened(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await submit(store, created(1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("ALTER TABLE inbox RENAME TO elsewhere")
    outcome = await submit(store, group(1, 2), Put(InboxRow(1, 0, b"{}")))
    assert isinstance(outcome, UnknownOutcome)
    assert "no such table" in str(outcome)
    other.execute("ALTER TABLE elsewhere RENAME TO inbox")
    other.close()
    assert isinstance(await submit(store, group(1, 2)), UnknownOutcome)
    with pytest.raises(UnknownOutcome):
        await store.register_triggers([], [])
    await store.reopen()
    assert len((await store.records([1]))[1]) == 1
    assert await submit(store, group(1, 2)) == [None]
    await store.close()


async def test_a_store_that_is_gone_is_unavailable_until_it_is_back(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await submit(store, created(1))
    away = path.with_name("away")
    path.rename(away)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"app\.db"):
            await store.reopen()
        assert isinstance(await submit(store, group(1, 2)), UnknownOutcome)
    assert not path.exists(), "no empty one in its place"
    away.rename(path)
    await store.reopen()
    assert await submit(store, group(1, 2)) == [None]
    await store.close()


# -- another process's lock


async def test_a_store_that_stays_locked_is_unavailable_and_nothing_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_S", 0.01)
    store = SqliteStore(path)
    await store.open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert isinstance(await submit(store, created(1)), StoreUnavailable)
    with pytest.raises(StoreUnavailable):
        await store.register_triggers([("w", 1)], [TriggerRow("w", 1, "e", "production")])
    other.execute("ROLLBACK")
    assert await submit(store, created(1)) == [None], "known outcomes need no reopening"
    await store.close()
    other.close()


async def test_what_is_read_is_trusted_only_after_a_complete_checkpoint(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_S", 0.01)
    store = SqliteStore(path)
    await store.open()
    await submit(store, created(1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT * FROM log").fetchall()
    await submit(store, group(1, 2))
    with pytest.raises(StoreUnavailable, match="checkpoint"):
        await store.reopen()
    assert isinstance(await submit(store, group(1, 3)), UnknownOutcome)
    assert len((await store.records([1]))[1]) == 2, "reading goes on"
    other.close()
    await store.reopen()
    assert await submit(store, group(1, 3)) == [None]
    await store.close()


async def test_opening_makes_durable_what_a_killed_process_left_in_the_wal(path: Path, tmp_path: Path) -> None:
    """Copies of the files are what kill -9 leaves. Their frames may be in the page cache only."""
    store = SqliteStore(path)
    await store.open()
    await submit(store, created(1))
    left = tmp_path / "left.db"
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{left}{suffix}")
    await store.close()
    again = SqliteStore(left)
    await again.open()
    assert len(await again.records([1])) == 1
    # Without the WAL the record is in the database file: it did not stay where a power cut could take it.
    bare = tmp_path / "bare.db"
    shutil.copy(left, bare)
    plain = sqlite3.connect(bare)
    assert plain.execute("SELECT count(*) FROM log").fetchone() == (1,)
    plain.close()
    await again.close()


# -- versions


async def fresh_schema(path: Path) -> list[tuple[str, str]]:
    store = SqliteStore(path)
    await store.open()
    await store.close()
    return schema(path)


def schema(path: Path) -> list[tuple[str, str]]:
    plain = sqlite3.connect(path)
    found = plain.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    plain.close()
    return found


@pytest.mark.parametrize("version", range(len(migrate.MIGRATIONS)))
async def test_every_older_version_is_brought_up_to_date(path: Path, tmp_path: Path, version: int) -> None:
    older = sqlite3.connect(path, isolation_level=None)
    migrate.migrate(older, "older", migrate.MIGRATIONS[:version])
    older.close()
    assert await fresh_schema(path) == await fresh_schema(tmp_path / "new.db")


def test_migrations_are_numbered_without_a_gap() -> None:
    names = sorted(entry.name for entry in (Path(migrate.__file__).parent / "schema").iterdir())
    assert [int(name.split("_")[0]) for name in names] == list(range(1, len(migrate.MIGRATIONS) + 1))


def test_a_migration_is_applied_whole_or_not_at_all(path: Path) -> None:
    scripts = [*migrate.MIGRATIONS, "CREATE TABLE half (a); INSERT INTO half VALUES (1); SELECT nonsense;"]
    database = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        migrate.migrate(database, "here", scripts)
    assert not database.in_transaction
    assert database.execute("PRAGMA user_version").fetchone() == (len(migrate.MIGRATIONS),)
    assert database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
    database.close()


async def test_a_newer_store_is_refused_and_left_alone(path: Path) -> None:
    await fresh_schema(path)
    plain = sqlite3.connect(path)
    plain.execute("PRAGMA user_version = 99")
    plain.close()
    before = path.read_bytes()
    for store in (SqliteStore(path), SqliteStore.reader(path)):
        with pytest.raises(NewerStore, match="version 99"):
            await store.open()
    assert path.read_bytes() == before


async def test_a_reader_does_not_migrate(path: Path) -> None:
    path.touch()
    with pytest.raises(NotAStore, match="durably migrate"):
        await SqliteReader(path).open()
    assert path.read_bytes() == b""


# -- what is no store


async def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    plain = sqlite3.connect(path)
    plain.execute("CREATE TABLE accounts (id)")
    plain.close()
    before = path.read_bytes()
    for store in (SqliteStore(path), SqliteStore.reader(path)):
        with pytest.raises(NotAStore, match="another program"):
            await store.open()
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("Dear diary, " * 100)
    for store in (SqliteStore(path), SqliteStore.reader(path)):
        with pytest.raises(NotAStore, match="is not a store"):
            await store.open()
    assert path.read_text() == "Dear diary, " * 100


@pytest.mark.parametrize("name", ["missing/app.db", "file/app.db", "folder"])
async def test_a_place_where_no_file_can_be_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for _ in range(2):  # a failed opening leaves nothing locked
        with pytest.raises(NotAStore, match=name):
            await SqliteStore(tmp_path / name).open()


async def test_a_reader_needs_an_existing_store(path: Path) -> None:
    with pytest.raises(NotAStore, match=r"app\.db"):
        await SqliteReader(path).open()
    assert not path.exists()


async def test_the_name_of_the_memory_database_is_refused() -> None:
    with pytest.raises(NotAStore, match="memory://"):
        SqliteStore(":memory:")


# -- readers


async def test_a_reader_sees_commits_beside_the_engine_and_after_it(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    async with SqliteStore.reader(path) as reader:
        assert await reader.runs(RunQuery()) == []
        await submit(store, created(1))
        assert [row.id for row in await reader.runs(RunQuery())] == ["run-1"]
        await store.close()
        assert len(await reader.records([1])) == 1
    async with SqliteStore.reader(path) as reader:
        assert len(await reader.records([1])) == 1
    with pytest.raises(StoreUnavailable, match="not open"):
        await reader.records([1])
    assert not hasattr(reader, "submit")


async def test_a_reader_cannot_write(path: Path) -> None:
    await fresh_schema(path)
    plain = sqlite3.connect(connection.file_uri(path, "ro"), uri=True)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        plain.execute("DELETE FROM log")
    plain.close()


# -- damage


async def test_a_damaged_file_is_found_and_never_written_again(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await submit(store, created(1))
    await store.close()
    plain = sqlite3.connect(path)
    (root,) = plain.execute("SELECT rootpage FROM sqlite_master WHERE name = 'log'").fetchone()
    (size,) = plain.execute("PRAGMA page_size").fetchone()
    plain.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    store = SqliteStore(path)
    with pytest.raises(CorruptStore, match="backup"):
        await store.open()


async def test_damage_found_while_running_does_not_heal(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await submit(store, created(1))
    await store.reopen()  # an empty WAL and an empty page cache: the next write reads the file
    plain = sqlite3.connect(path)
    (root,) = plain.execute("SELECT rootpage FROM sqlite_master WHERE name = 'runs'").fetchone()
    (size,) = plain.execute("PRAGMA page_size").fetchone()
    plain.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    assert isinstance(await submit(store, created(2)), CorruptStore)
    assert isinstance(await submit(store, created(2)), CorruptStore)
    with pytest.raises(CorruptStore):
        await store.reopen()
    with pytest.raises(CorruptStore):
        await store.run("run-1")
    await store.close()
