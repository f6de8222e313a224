"""Saving a document: as the engine that has the store does it, and as others do beside it."""

import sqlite3

from msgspec.structs import astuple

from durably.store.documents import why_out_of_turn
from durably.store.rows import DocumentRow, Refused
from durably.store.sqlite.queries import QUERIES

__all__ = ["save_document"]


def save_document(connection: sqlite3.Connection, row: DocumentRow) -> Refused | None:
    """Save a document inside the open transaction, unless it is not the version that follows."""
    stored = connection.execute(QUERIES["living_version"], (row.kind, row.id)).fetchone()
    why = why_out_of_turn(row, None if stored is None else stored[0])
    if why is not None:
        return Refused(why)
    values = astuple(row)
    if stored is None:
        connection.execute(QUERIES["insert_document"], values)
    else:
        connection.execute(QUERIES["change_document"], (*values[2:], *values[:2]))
    return None
