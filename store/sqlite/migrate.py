"""Bring a file to the newest version of the schema, one numbered script after another."""

import sqlite3
from collections.abc import Sequence
from importlib.resources import files

from durably.store.errors import NewerStore, NotAStore

__all__ = ["APPLICATION_ID", "MIGRATIONS", "check_identity", "migrate", "version_of"]

APPLICATION_ID = 0x44524259
"""Written in the file's header ("DRBY"), so that a file of somebody else's is recognised."""


def _scripts() -> list[str]:
    folder = files("durably.store.sqlite").joinpath("schema")
    return [entry.read_text("utf-8") for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)]


MIGRATIONS: Sequence[str] = _scripts()
"""The script at index n brings version n to version n + 1. A released script is never changed."""


def check_identity(location: str, application_id: int, version: int, objects: int) -> None:
    """Refuse a file that is not ours, or newer than this code. An empty file may become a store."""
    if application_id != APPLICATION_ID and (application_id, version, objects) != (0, 0, 0):
        raise NotAStore(f"{location} is a database of another program, not a store. Choose another path.")
    if version > len(MIGRATIONS):
        raise NewerStore(
            f"{location} has schema version {version}, this version of Durably knows {len(MIGRATIONS)}. "
            "Install the version that wrote it, or a later one."
        )


IDENTITY = (
    "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
    "FROM pragma_application_id, pragma_user_version"
)
"""Reads the arguments of `check_identity`."""


def version_of(connection: sqlite3.Connection, location: str) -> int:
    """The file's schema version, 0 for an empty file. Raises `NotAStore` or `NewerStore`."""
    row: tuple[int, int, int] = connection.execute(IDENTITY).fetchone()
    application_id, version, objects = row
    check_identity(location, application_id, version, objects)
    return version


def migrate(connection: sqlite3.Connection, location: str, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Apply the missing scripts. Each is one transaction with its version number."""
    for version in range(version_of(connection, location), len(migrations)):
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{migrations[version]}\n"
                f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {version + 1};\nCOMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
