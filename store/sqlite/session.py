"""How an engine comes to own a store's file: opened, up to date, durable, and in a session of its own."""

import sqlite3
from pathlib import Path
from typing import Literal

from durably.store.errors import Fenced
from durably.store.sqlite.connection import checkpoint, connect, settle
from durably.store.sqlite.migrate import migrate, version_of
from durably.store.sqlite.queries import QUERIES

__all__ = ["begin_session", "last_run", "open_for_writing"]


def open_for_writing(path: Path, location: str, mode: Literal["rw", "rwc"]) -> sqlite3.Connection:
    """A connection to a store of the newest version of which everything that can be read is durable.

    Raises `sqlite3.Error`, `NotAStore`, `NewerStore` or `StoreUnavailable`.
    """
    connection = connect(path, mode)
    try:
        version_of(connection, location)  # a file that is not ours stays as it is
        settle(connection, location)
        migrate(connection, location)
        checkpoint(connection, location)
    except BaseException:
        connection.close()
        raise
    return connection


def begin_session(connection: sqlite3.Connection, token: str, now_us: int, after: str | None = None) -> None:
    """Make `token` the session, in place of `after`. Raises `Fenced` when another one has come between.

    The session is `token` already when an earlier try was committed although it failed. The checkpoint has to
    come first: it is this commit that overwrites the WAL's header, and with it what a failed commit had left
    behind.
    """
    connection.execute("BEGIN IMMEDIATE")
    row = connection.execute(QUERIES["current_session"]).fetchone()
    if after is not None and row not in {(after,), (token,)}:
        connection.execute("ROLLBACK")
        raise Fenced("The store was taken over by another engine. This one has to stop.")
    if row != (token,):
        connection.execute(QUERIES["end_sessions"], {"now_us": now_us})
        connection.execute(QUERIES["begin_session"], {"token": token, "now_us": now_us})
    connection.execute("COMMIT")


def last_run(connection: sqlite3.Connection) -> int:
    """The largest run number ever used."""
    run: int = connection.execute(QUERIES["last_run"]).fetchone()[0]
    return run
