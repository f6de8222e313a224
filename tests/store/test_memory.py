"""What only the store in memory has: it lives as long as its object."""

import asyncio

import pytest

from durably.store.errors import Fenced, StoreLocked
from durably.store.memory import MemoryStore
from durably.store.rows import Append, LogRow, Operation, Result, RunRow

pytestmark = pytest.mark.anyio


def created(run: int) -> Append:
    row = RunRow(run=run, id=f"run-{run}", workflow="w", version=1, trigger="MANUAL", environment="production")
    return Append(run, [LogRow(run, 1, 0, b"{}")], created=row)


def answer(store: MemoryStore, operation: Operation) -> asyncio.Future[object]:
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    store.submit([operation], future.set_result)
    return future


async def test_a_new_engine_finds_what_the_last_one_committed() -> None:
    store = MemoryStore()
    await store.open()
    run = store.new_run()
    results: list[Result] = [None]
    assert await answer(store, created(run)) == results
    await store.close()
    await store.open()
    assert await store.records([run]) == {run: [LogRow(run, 1, 0, b"{}")]}
    assert store.new_run() == run + 1


async def test_what_an_ended_session_had_on_its_way_is_fenced() -> None:
    store = MemoryStore()
    await store.open()
    on_its_way = answer(store, created(1))
    await store.close()
    await store.open()
    assert isinstance(await on_its_way, Fenced)
    assert await store.run("run-1") is None


async def test_two_engines_cannot_share_it() -> None:
    store = MemoryStore()
    await store.open()
    with pytest.raises(StoreLocked):
        await store.open()


async def test_what_was_read_does_not_change_afterwards() -> None:
    store = MemoryStore()
    await store.open()
    await answer(store, created(1))
    log = (await store.records([1]))[1]
    await answer(store, Append(1, [LogRow(1, 2, 0, b"{}")]))
    assert len(log) == 1
