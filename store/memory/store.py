"""Sessions of the store in memory."""

import asyncio
from collections.abc import Sequence

from durably.store.errors import Fenced, StoreLocked, StoreUnavailable
from durably.store.memory.writer import MemoryWriter
from durably.store.protocol import Done
from durably.store.rows import Operation, TriggerRow

__all__ = ["MemoryStore"]


class MemoryStore(MemoryWriter):
    """A `Store` without a file. What is in it survives `close` and a new `open` of the same object.

    Answers come through `loop.call_soon`, in order, and a batch is carried out when it is answered: what was
    submitted by a session that has ended meanwhile is fenced, as it is on a disk.
    """

    location = "memory://"

    def __init__(self) -> None:
        super().__init__()
        self._session = 0
        self._is_open = False
        self._last_run = 0

    async def open(self) -> None:
        if self._is_open:
            raise StoreLocked("This memory:// store is in use by another engine. Close that one first.")
        self._is_open = True
        self._session += 1

    async def reopen(self) -> None:
        if not self._is_open:
            raise StoreUnavailable("This memory:// store is not open.")
        self._session += 1

    async def close(self) -> None:
        self._is_open = False
        self._session += 1

    def new_run(self) -> int:
        self._last_run += 1
        return self._last_run

    def submit(self, batch: Sequence[Operation], done: Done) -> None:
        asyncio.get_running_loop().call_soon(self._answer, batch, done, self._session)

    def _answer(self, batch: Sequence[Operation], done: Done, session: int) -> None:
        if session != self._session or not self._is_open:
            done(Fenced("This session of the memory:// store has ended."))
        else:
            done(self._carry_out(batch))

    async def register_triggers(self, workflows: Sequence[tuple[str, int]], triggers: Sequence[TriggerRow]) -> None:
        replaced = set(workflows)
        kept = [row for row in self._triggers if (row.workflow, row.version) not in replaced]
        self._triggers = [*kept, *triggers]
