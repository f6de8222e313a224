"""Which version of a document may follow which: one decision for all stores."""

from durably.store.rows import DocumentRow

__all__ = ["why_out_of_turn"]


def why_out_of_turn(row: DocumentRow, stored: int | None) -> str | None:
    """Why this document cannot be saved beside what is stored; None when it can.

    `stored` is the version of the one of its kind and id that is not deleted, if there is such a one.
    """
    name = f"{row.kind} {row.id!r}"
    if stored is None:
        return None if row.version == 1 else f"there is no {name}, or it was deleted"
    if row.version == 1:
        return f"{name} exists already"
    return None if row.version == stored + 1 else f"{name} has version {stored}: version {row.version} cannot follow"
