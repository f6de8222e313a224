"""Stores for the tests of this folder: the conformance suite runs against each of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durably.store.memory import MemoryStore
from durably.store.protocol import Store
from durably.store.sqlite import SqliteStore


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An open store, empty. SQLite is a real file."""
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "store.db")
    await made.open()
    yield made
    await made.close()
