"""Stores for the tests of this folder: the conformance suite runs against each of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durably.store.memory import MemoryStore
from durably.store.protocol import Store
from durably.store.sealed import SealedStore
from durably.store.sqlite import SqliteStore


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Flipped:
    """A codec: every bit flipped."""

    def encode(self, data: bytes) -> bytes:
        return bytes(255 - byte for byte in data)

    decode = digest = encode


@pytest.fixture(params=["memory", "sqlite", "sealed"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An open store, empty. SQLite is a real file."""
    made: Store = SqliteStore(tmp_path / "store.db") if request.param == "sqlite" else MemoryStore()
    if request.param == "sealed":
        made = SealedStore(made, Flipped())
    await made.open()
    yield made
    await made.close()
