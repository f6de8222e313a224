"""The store in one SQLite file."""

from durably.store.sqlite.administration import SqliteAdministration
from durably.store.sqlite.reader import SqliteReader
from durably.store.sqlite.store import SqliteStore

__all__ = ["SqliteAdministration", "SqliteReader", "SqliteStore"]
