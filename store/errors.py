"""What can go wrong with a store, sorted by what the caller has to do about it (DESIGN rule 8)."""

__all__ = [
    "CorruptStore",
    "Fenced",
    "NewerStore",
    "NotAStore",
    "StoreFailure",
    "StoreLocked",
    "StoreUnavailable",
    "TakenDocument",
    "UnknownOutcome",
    "UnreadableStore",
]


class StoreFailure(Exception):  # noqa: N818 - the tree's root is named for what it is, its leaves too
    """Something is wrong with the store. The message says what, why, and what to do."""


class StoreLocked(StoreFailure):
    """Another engine runs on this store. Stop it, or give this one a store of its own."""


class NewerStore(StoreFailure):
    """The store was written by a newer version of Durably. Install that version, or a later one."""


class NotAStore(StoreFailure):
    """The path or URL does not lead to a store, or to one that can be created."""


class UnreadableStore(StoreFailure):
    """What is stored is sealed, and the codec or the key it was sealed with is not given."""


class TakenDocument(StoreFailure):
    """There is a document of this id already, or it was changed or deleted meanwhile. Read it again."""


class CorruptStore(StoreFailure):
    """The file is damaged. Nothing more is written to it; restore it from a backup."""


class Fenced(StoreFailure):
    """This session was ended: another engine has taken the store over. This one has to stop."""


class StoreUnavailable(StoreFailure):
    """The store cannot be written just now (disk full, read-only, gone). Nothing was committed; try again later."""


class UnknownOutcome(StoreFailure):
    """A commit failed in a way that does not tell whether it happened. Only a reopened store knows (DESIGN rule 8)."""
