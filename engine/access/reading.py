"""Keys as they are in the store now: read for every request, and by as few reads as that takes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from durably.engine.access.keys import Keys
from durably.store import DocumentRow

__all__ = ["CurrentKeys"]


class CurrentKeys:
    """The keys, never older than the question: another process may have made or revoked one just before it.

    Whoever asks while a read is under way may not trust what that one finds: all who do share the next one. So there
    is one read at a time, however many ask.
    """

    def __init__(self, read: Callable[[], Awaitable[Sequence[DocumentRow]]]) -> None:
        self._read = read
        self._reading: asyncio.Future[Keys] | None = None
        self._next: asyncio.Future[Keys] | None = None
        self._rows: Sequence[DocumentRow] | None = None
        self._keys = Keys(())

    async def get(self) -> Keys:
        """The keys. Raises what reading them raises."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._read_after(self._reading))
        return await asyncio.shield(self._next)  # who asked may go; others wait for the same read

    async def _read_after(self, before: "asyncio.Future[Keys] | None") -> Keys:
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._reading, self._next = self._next, None
        rows = await self._read()
        if rows != self._rows:
            self._rows, self._keys = rows, Keys(rows)
        return self._keys
