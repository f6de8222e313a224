"""Writing documents beside an engine that may be running on the store (DESIGN section 6)."""

import sqlite3
from contextlib import closing

from durably.store.errors import NotAStore, StoreUnavailable, TakenDocument
from durably.store.rows import SHARED_KINDS, DocumentRow
from durably.store.runtime import Worker
from durably.store.sqlite.connection import connect, damage_or, settle
from durably.store.sqlite.documents import save_document
from durably.store.sqlite.reader import SqliteReader
from durably.store.sqlite.store import SqliteStore, run_on

__all__ = ["SqliteAdministration"]


class SqliteAdministration(SqliteReader):
    """An `Administration` of one SQLite file.

    It needs no session and no lock: each document is a transaction of its own on a connection of its own, which touches
    one table and waits for the engine's commit as the engine waits for it, some milliseconds.
    """

    async def open(self) -> None:
        """Open the store, or make it. Raises `NotAStore`, `NewerStore`, or `StoreLocked`: an older engine has it."""
        try:
            await super().open()
        except NotAStore:  # there is none, or an older one; of another program's file this opening says so again
            store = SqliteStore(self.path)
            await store.open()
            await store.close()
            await super().open()

    async def save(self, row: DocumentRow) -> None:
        """See `Administration.save`."""
        if row.kind not in SHARED_KINDS:
            raise ValueError(f"only the engine that has {self.location} writes documents of kind {row.kind!r}")
        if self._connection is None:
            raise StoreUnavailable(f"{self.location} is not open.")
        worker = Worker("durably-administration")
        try:
            await run_on(worker, lambda: self._save(row))
        finally:
            worker.stop()

    def _save(self, row: DocumentRow) -> None:
        try:
            with closing(connect(self.path, "rw")) as connection:
                settle(connection, self.location)
                connection.execute("BEGIN IMMEDIATE")
                refused = save_document(connection, row)
                connection.execute("ROLLBACK" if refused else "COMMIT")
        except sqlite3.Error as error:
            hint = "Look whether it was stored before you try again."
            raise damage_or(StoreUnavailable, error, self.location, hint) from error
        if refused is not None:
            raise TakenDocument(f"{self.location}: {refused.reason}. Read it again.")
