"""What a file holds when its bodies are sealed, and what becomes of runs whose key is missing."""

import asyncio
import json
import sqlite3
from base64 import b64decode
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durably import Engine, Event, EventConflict, RunCanceled, RunFailed, StoreError, step, workflow
from durably.encryption import Codec, Encryption
from durably.engine.log.records import Sealed, decode_end, decode_record
from durably.store import (
    Append,
    Arrival,
    EventRow,
    InboxRow,
    Ingest,
    LogRow,
    MemoryStore,
    Missing,
    Operation,
    Put,
    Result,
    SqliteStore,
    Store,
    StoreFailure,
    StoreUnavailable,
    UnreadableStore,
)
from durably.store.rows import Notify, Together
from durably.store.sealed import SealedStore, is_sealed, refuse_unreadable
from durably.testing import TestEngine
from tests.store.row_makers import delivery, document, group, row, save

pytestmark = pytest.mark.anyio

OLD, NEW, OTHER = (Encryption.new_key() for _ in range(3))
CARD = "Jane Q. Doe, 4111-1111-1111-1111"
"""In arguments, results, errors and events."""


@step(retries=0)
async def charge(card: str) -> str:
    if card.startswith("bad"):
        raise ValueError(f"no such card: {card}")
    return card.upper()


@workflow(on="shop/paid")
async def pay(event: Event) -> str:
    return await charge(event.data["card"])


@workflow
async def refund(card: str) -> str:
    return await charge(card)


def engine(path: Path, *keys: str) -> Engine:
    return Engine(f"sqlite:///{path}", [pay, refund], codec=Encryption(keys) if keys else None)


async def ended_run(engine: Engine, card: str) -> str:
    run = await engine.start(refund, card)
    assert await run.result(timeout=30) == card.upper()
    return run.id


def files(path: Path) -> bytes:
    """Everything on disk: the file, its WAL, its index, its lock."""
    return b"".join(each.read_bytes() for each in sorted(path.parent.iterdir()) if each.is_file())


def ask(path: Path, statement: str, *parameters: object) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(statement, parameters).fetchall()


# -- what is on disk


async def test_no_secret_is_in_the_file_nor_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with engine(path, NEW) as running:
        await ended_run(running, CARD)
        await running.send(Event("shop/paid", {"card": CARD}, id="e-1"))
        failing = await running.start(refund, f"bad {CARD}")
        with pytest.raises(RunFailed, match="no such card"):
            await failing.result(timeout=30)
        on_disk = files(path)
        assert (path.parent / "app.db-wal").stat().st_size > 0
        assert "shop/paid" in on_disk.decode(errors="replace"), "what is looked for would be found"
        for secret in (CARD, CARD.upper(), CARD[:12], "0/charge#0", "no such card"):
            assert secret.encode() not in on_disk
            assert secret.encode("utf-16-le") not in on_disk
    assert CARD.encode() not in files(path)


async def test_the_same_without_a_codec_is_full_of_them(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with engine(path) as running:
        await ended_run(running, CARD)
        assert CARD.encode() in files(path)


async def test_what_is_stored_is_json_with_the_type_in_clear(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with engine(path, NEW) as running:
        run = await ended_run(running, CARD)
    rows = ask(path, "SELECT type, record FROM history WHERE id = ? ORDER BY seq", run)
    assert [kind for kind, _ in rows] == [
        "run.created",
        "run.started",
        "attempt.started",
        "step.succeeded",
        "run.succeeded",
    ]
    assert all(json.loads(record).keys() == {"type", "sealed"} for _, record in rows)


async def test_an_event_is_known_again_by_a_digest_that_needs_the_key(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    guess = Event("shop/paid", {"card": CARD}, id="e-1")
    async with engine(tmp_path / "clear.db") as running:
        await running.send(guess)
    async with engine(path, OLD) as running:
        await running.send(guess)
    async with engine(path, NEW, OLD) as running:
        assert await running.send(guess) == ["e-1"]
        with pytest.raises(EventConflict, match="other content"):
            await running.send(Event("shop/paid", {"card": "another"}, id="e-1"))
        assert len(await running.list_runs()) == 1
    [(plain,)] = ask(tmp_path / "clear.db", "SELECT digest FROM events")
    [(keyed,)] = ask(path, "SELECT digest FROM events")
    assert plain not in keyed


# -- switched on, keys changed, keys missing


async def test_runs_from_before_it_was_switched_on_go_on(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with engine(path) as running:
        before = await ended_run(running, "clear")
    async with engine(path, NEW) as running:
        assert await (await running.get_run(before)).result() == "CLEAR"
        after = await ended_run(running, CARD)
        assert [each.output for each in await running.list_runs()] == [CARD.upper(), "CLEAR"]
    assert len(ask(path, "SELECT 1 FROM history WHERE id = ? AND record LIKE '%sealed%'", after)) == 5


@step
async def book(room: str) -> str:
    return f"booked {room}"


@workflow
async def stay(room: str) -> str:
    booked = await book(room)
    await asyncio.sleep(86_400)
    return f"{booked}, and left {await book(room)}"


def on_a_virtual_clock(path: Path, codec: Codec | None) -> TestEngine:
    store: Store = SqliteStore(path)
    engine = TestEngine([stay])
    engine.use_store(store if codec is None else SealedStore(store, codec))
    return engine


async def asleep(path: Path, *keys: str, run_id: str = "run-1") -> str:
    """A run that sleeps in a store whose engine was stopped."""
    async with on_a_virtual_clock(path, Encryption(keys)) as engine:
        run = await engine.start(stay, "214", run_id=run_id)
        await engine.clock.advance(60)
        return run.id


def keys_of(path: Path, run: str) -> list[str]:
    """The ids of the keys that a run's records are encrypted with, in their order."""
    rows = ask(path, "SELECT record FROM history WHERE id = ? ORDER BY seq", run)
    return [b64decode(json.loads(record)["sealed"])[1:5].hex() for (record,) in rows]


async def test_a_run_ends_under_the_new_key_that_began_under_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    run_id = await asleep(path, OLD)
    [old] = set(keys_of(path, run_id))
    before = len(keys_of(path, run_id))
    async with on_a_virtual_clock(path, Encryption([NEW, OLD])) as engine:
        assert await (await engine.get_run(run_id)).result() == "booked 214, and left booked 214"
    keys = keys_of(path, run_id)
    assert set(keys[:before]) == {old}
    assert len(set(keys[before:])) == 1
    assert old not in keys[before:]


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (None, r"is sealed, and no codec was given.*Engine\(codec=…\)"),
        (
            Encryption([OTHER]),
            r"cannot be decoded .*encrypted with key \w{8}, and the keys given are \w{8}\.",
        ),
    ],
)
async def test_an_engine_does_not_open_without_the_key(tmp_path: Path, codec: Codec | None, message: str) -> None:
    """It would write new runs in clear, or under a key of its own."""
    path = tmp_path / "app.db"
    run_id = await asleep(path, OLD)
    before = keys_of(path, run_id)
    with pytest.raises(StoreError, match=message):
        async with on_a_virtual_clock(path, codec):
            pass
    assert keys_of(path, run_id) == before, "nothing was written"
    async with on_a_virtual_clock(path, Encryption([OLD])) as engine:
        assert await (await engine.get_run(run_id)).result() == "booked 214, and left booked 214"


async def test_only_the_runs_of_a_missing_key_are_blocked(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    old = await asleep(path, OLD)
    new = await asleep(path, NEW, OLD, run_id="run-2")
    async with on_a_virtual_clock(path, Encryption([NEW])) as engine:
        assert await (await engine.get_run(new)).result() == "booked 214, and left booked 214"
        await engine.clock.advance(2 * 86_400)
        ended, blocked = sorted(await engine.list_runs(), key=lambda info: info.id == old)
        assert (ended.status, blocked.status, blocked.phase) == ("SUCCEEDED", "RUNNING", "blocked")
        assert blocked.error is not None
        assert "Nothing is lost: give the codec" in blocked.error.message
        with pytest.raises(Sealed, match="encrypted with key"):
            await (await engine.get_run(old)).history()
    async with on_a_virtual_clock(path, Encryption([NEW, OLD])) as engine:
        assert await (await engine.get_run(old)).result() == "booked 214, and left booked 214"


async def test_a_run_with_an_unreadable_item_in_its_inbox_is_blocked(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    run_id = await asleep(path, OLD)
    lost = SealedStore(SqliteStore(path), Encryption([OTHER]))
    await lost.open()
    row = await lost.run(run_id)
    assert row is not None
    assert await submit(lost, Put(InboxRow(row.run, 0, b'{"type":"cancel"}'))) != [Missing()]
    await lost.close()
    async with on_a_virtual_clock(path, Encryption([OLD])) as engine:
        await engine.clock.advance(2 * 86_400)
        assert (await (await engine.get_run(run_id)).status()) == "RUNNING"
    async with on_a_virtual_clock(path, Encryption([OLD, OTHER])) as engine:
        with pytest.raises(RunCanceled):
            await (await engine.get_run(run_id)).result()


# -- the wrapper itself


async def submit(store: Store, *batch: Operation) -> list[Result] | StoreFailure:
    future: asyncio.Future[list[Result] | StoreFailure] = asyncio.get_running_loop().create_future()
    store.submit(batch, future.set_result)
    return await future


class Broken:
    """A codec whose keys are out of reach."""

    def encode(self, data: bytes) -> bytes:
        raise ConnectionError(f"no key server for {len(data)} bytes")

    def decode(self, data: bytes) -> bytes:
        raise ConnectionError(f"no key server for {len(data)} bytes")


async def test_what_cannot_be_encoded_is_not_written_and_may_be_tried_again() -> None:
    store = SealedStore(MemoryStore(), Broken())
    await store.open()
    outcome = await submit(store, Append(1, [LogRow(1, 1, 0, b"{}")]))
    assert isinstance(outcome, StoreUnavailable)
    assert "ConnectionError: no key server" in str(outcome)
    assert await store.records([1]) == {}


async def test_a_plain_codec_has_the_plain_digest() -> None:
    class Reversed:
        def encode(self, data: bytes) -> bytes:
            return data[::-1]

        decode = encode

    inner = MemoryStore()
    store = SealedStore(inner, Reversed())
    await store.open()
    given = EventRow("e", "shop/paid", 0, "c0ffee", b'{"name":"shop/paid"}')
    assert await submit(store, Ingest([Arrival(given)])) == [None]
    assert await store.event("e") == given
    stored = await inner.event("e")
    assert stored is not None
    assert stored.digest == "c0ffee"
    assert is_sealed(stored.body)


def test_a_sealed_record_never_passes_for_one_with_nothing_in_it() -> None:
    sealed = b'{"sealed":"AAAA","type":"run.canceled"}'
    for decode in (decode_record, decode_end):
        with pytest.raises(Sealed, match="is sealed, and no codec was given"):
            decode(sealed)


async def test_documents_and_deliveries_are_sealed_but_for_what_other_processes_write(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    store = SealedStore(SqliteStore(path), Encryption([NEW]))
    await store.open()
    secret = b'{"headers":{"Authorization":"Bearer %s"}}' % CARD.encode()
    job, key, message = document(body=secret), document("k", kind="key"), delivery("m", body=secret)
    also: list[Operation] = [save(kind="environment"), Notify(delivery("n", body=secret))]
    started = group(store.new_run(), 1, created=row(1), also=also)
    assert isinstance(await submit(store, Together([save(body=secret), Notify(message), started])), list)
    await submit(store, save("k", kind="key"))
    assert await store.documents("job") == [job]
    assert await store.documents("key") == [key]
    assert await store.deliveries(["run-1"]) == [message, delivery("n", body=secret)]
    on_disk = files(path)
    assert CARD.encode() not in on_disk
    assert b"mailto:ops@example.com" in on_disk, "what is looked for would be found"
    await store.close()
    bodies = dict(ask(path, "SELECT kind, CAST(body AS TEXT) FROM documents"))
    assert json.loads(bodies["job"]).keys() == {"sealed"}
    assert json.loads(bodies["key"]) == json.loads(bodies["environment"]) == {"v": 1}


async def test_one_unreadable_document_does_not_hide_the_others() -> None:
    inner = MemoryStore()
    old, new = SealedStore(inner, Encryption([OLD])), SealedStore(inner, Encryption([NEW]))
    await inner.open()
    await submit(old, save("lost"), Notify(delivery("lost", due_us=1)))
    await submit(new, save("kept"), Notify(delivery("kept", due_us=2)))
    lost, kept = await new.documents("job")
    assert kept == document("kept")
    assert is_sealed(lost.body)
    assert [is_sealed(each.body) for each in await new.due_deliveries(9)] == [True, False]


async def test_a_store_with_nothing_but_jobs_is_not_opened_without_its_key() -> None:
    inner = MemoryStore()
    sealed = SealedStore(inner, Encryption([OLD]))
    await inner.open()
    await submit(sealed, group(1, 1, created=row(1, job="hourly")))
    await refuse_unreadable(sealed)
    with pytest.raises(UnreadableStore, match="no codec was given"):
        await refuse_unreadable(inner)
