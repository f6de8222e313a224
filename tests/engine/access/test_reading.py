"""Reads of keys: never older than the question, and as few as that takes."""

import asyncio

import pytest

from durably.engine.access.keys import Keys, new_key
from durably.engine.access.reading import CurrentKeys
from durably.engine.testing import SeededRandomness
from durably.store import DocumentRow

pytestmark = pytest.mark.anyio


class Shelf:
    """Documents whose reading begins and ends when the test says so."""

    def __init__(self) -> None:
        self.rows: list[DocumentRow] = []
        self.reads: list[asyncio.Future[None]] = []

    async def read(self) -> list[DocumentRow]:
        found = list(self.rows)  # as they are when the read begins
        self.reads.append(asyncio.get_running_loop().create_future())
        await self.reads[-1]
        return found

    def add(self) -> None:
        name = f"k{len(self.rows)}"
        made = new_key(name, "read", "staging", now_us=0, expires_us=None, randomness=SeededRandomness(len(self.rows)))
        self.rows.append(made.row)


async def turn() -> None:
    """Let what is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_who_ask_during_a_read_share_the_next_one() -> None:
    shelf = Shelf()
    current = CurrentKeys(shelf.read)
    first = asyncio.create_task(current.get())
    await turn()
    shelf.add()  # after the first read has begun, and before the others ask
    others = [asyncio.create_task(current.get()) for _ in range(100)]
    await turn()
    assert len(shelf.reads) == 1
    shelf.reads[0].set_result(None)
    await turn()
    assert (first.done(), len(shelf.reads)) == (True, 2)
    shelf.reads[1].set_result(None)
    assert not (await first).configured
    assert {len(list(keys)) for keys in await asyncio.gather(*others)} == {1}
    assert len(shelf.reads) == 2


async def test_nothing_is_read_when_nobody_asks_and_keys_are_decoded_anew_only_when_they_changed() -> None:
    shelf = Shelf()
    current = CurrentKeys(shelf.read)
    seen: list[Keys] = []
    for number in range(3):
        task = asyncio.create_task(current.get())
        await turn()
        shelf.reads[number].set_result(None)
        seen.append(await task)
        if number == 1:
            shelf.add()
    assert seen[0] is seen[1]
    assert seen[2] is not seen[1]
    assert len(shelf.reads) == 3


async def test_an_error_is_told_to_all_who_share_the_read_and_to_nobody_else() -> None:
    shelf = Shelf()
    current = CurrentKeys(shelf.read)
    asked = [asyncio.create_task(current.get()) for _ in range(3)]
    await turn()
    asked[0].cancel()  # who leaves takes nobody along
    later = asyncio.create_task(current.get())
    await turn()
    shelf.reads[0].set_exception(OSError("the disk is gone"))
    for task in asked[1:]:
        with pytest.raises(OSError, match="gone"):
            await task
    await turn()
    shelf.reads[1].set_result(None)
    assert not (await later).configured


async def test_an_error_that_nobody_waits_for_is_silent() -> None:
    shelf = Shelf()
    current = CurrentKeys(shelf.read)
    task = asyncio.create_task(current.get())
    await turn()
    task.cancel()
    await turn()
    shelf.reads[0].set_exception(OSError("the disk is gone"))
    await turn()
