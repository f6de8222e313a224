"""Documents of the store as the engine writes them: durable when `save` returns."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from durably.engine.errors import DurablyError
from durably.engine.execution.journal import Journal, settle
from durably.engine.log.records import refuse_sealed
from durably.store import DocumentRow, Operation, Refused, Result, Save, Store, Together
from durably.store.sealed import is_sealed

__all__ = ["DocumentConflict", "Documents", "to_its_end"]

P = ParamSpec("P")
T = TypeVar("T")


class DocumentConflict(DurablyError):  # noqa: N818 - named as the errors of the contract are
    """There is a document of that id already, or it was changed or deleted meanwhile. Read it again."""


class Documents:
    """Reads and writes documents: policies, jobs, what becomes of destinations."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal

    async def load(self, kind: str) -> list[DocumentRow]:
        """All documents of a kind, the oldest first, deleted ones too.

        Raises `Sealed` when one that is not deleted cannot be read, for want of a codec or of a key.
        """
        rows = await self._store.documents(kind)
        for row in rows:
            if row.deleted_us is None:
                refuse_sealed(row.body)
        return [row for row in rows if not is_sealed(row.body)]

    async def save(self, row: DocumentRow, *others: Operation) -> Result:
        """Write a document, and do `others` in the same commit; what became of them.

        Raises `DocumentConflict` when it is not the version that follows the stored one, and `StoreError` when nothing
        can be stored, or nobody knows whether it was.
        """
        self._journal.check_writable()
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        after = partial(settle, answer)
        self._journal.add(Together([Save(row), *others], after=after) if others else Save(row, after=after))
        result = await answer
        if isinstance(result, Refused):
            raise DocumentConflict(
                f"{row.kind} {row.id!r} exists already, or was changed meanwhile: read it again ({result.reason})"
            )
        return result


def to_its_end(change: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A change of documents that goes on though who asked for it has gone: memory is to know what the store has."""

    @wraps(change)
    async def changed(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.shield(asyncio.ensure_future(change(*args, **kwargs)))

    return changed
