"""Connections to a store's file, their settings, and what SQLite's errors mean for a store."""

import sqlite3
from pathlib import Path
from typing import Literal

from durably.store.errors import CorruptStore, NotAStore, StoreFailure, StoreUnavailable

__all__ = [
    "BUSY_TIMEOUT_S",
    "checkpoint",
    "connect",
    "damage_or",
    "file_uri",
    "is_busy",
    "opening_failure",
    "settle",
]

BUSY_TIMEOUT_S = 5.0
"""How long SQLite itself waits for another process's lock before it reports BUSY."""

SETTINGS: tuple[str, ...] = (
    "PRAGMA synchronous = FULL",  # NORMAL lost acknowledged commits in 39 % of simulated power cuts
    "PRAGMA fullfsync = ON",  # macOS: fsync alone leaves the data in the drive's cache
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA journal_size_limit = 67108864",  # the WAL file is cut back to 64 MiB after a burst
)

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def file_uri(path: Path, mode: Literal["ro", "rw", "rwc"]) -> str:
    """The path as SQLite's URI: opened for reading, for writing, or created if there is nothing."""
    return f"{path.absolute().as_uri()}?mode={mode}"


def connect(path: Path, mode: Literal["rw", "rwc"]) -> sqlite3.Connection:
    """A connection that can write. It changes nothing in the file before `settle`."""
    return sqlite3.connect(file_uri(path, mode), uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def settle(connection: sqlite3.Connection, location: str) -> None:
    """Put the settings of DESIGN section 6 in force. Raises `NotAStore` where a WAL is not possible."""
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise NotAStore(
            f"{location}: SQLite cannot keep a write-ahead log here (journal mode {mode}). Put the file on a "
            "local disk."
        )
    for setting in SETTINGS:
        connection.execute(setting)


def checkpoint(connection: sqlite3.Connection, location: str) -> None:
    """Move everything committed into the database file, on stable storage, and empty the WAL; or raise.

    Before that, what is read may be a lie: a WAL frame can be in the page cache and not on the disk, because
    its fsync failed, or because its writer was killed before. Acting on it would be an effect before its
    record.
    """
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StoreUnavailable(
            f"{location} cannot be checkpointed: another process has read or written it for more than "
            f"{BUSY_TIMEOUT_S:g} s. Nothing was lost; end that process, or try again."
        )


def _code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Another connection held the lock for longer than `BUSY_TIMEOUT_S`."""
    return _code(error) == sqlite3.SQLITE_BUSY


def damage_or(otherwise: type[StoreFailure], error: BaseException, location: str, hint: str) -> StoreFailure:
    """`CorruptStore` if that is what SQLite says, else a failure of the kind given."""
    if _code(error) in DAMAGED:
        return CorruptStore(f"{location} is damaged: {error}. Restore it from a backup.")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return otherwise(f"{location}: {error} ({name}). {hint}")


def opening_failure(error: sqlite3.Error, location: str) -> StoreFailure:
    """What an error means while a store is being opened for the first time."""
    match _code(error):
        case sqlite3.SQLITE_NOTADB:
            return NotAStore(f"{location} is not a store: {error}. Choose another path.")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return NotAStore(
                f"{location} cannot be opened: {error}. The folder has to exist, and folder and file have to "
                "be readable and writable."
            )
        case _:
            return damage_or(StoreUnavailable, error, location, "Nothing was changed; mend the cause and try again.")
