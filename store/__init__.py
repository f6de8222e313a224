"""Rows and bytes, atomically; knows no workflow. `open_url` turns a store's URL into the store."""

from urllib.parse import urlsplit

from durably.store.committer import Committer
from durably.store.errors import (
    CorruptStore,
    Fenced,
    NewerStore,
    NotAStore,
    StoreFailure,
    StoreLocked,
    StoreUnavailable,
    TakenDocument,
    UnknownOutcome,
    UnreadableStore,
)
from durably.store.memory import MemoryStore
from durably.store.protocol import Administration, OpenRun, Store
from durably.store.rows import (
    SHARED_KINDS,
    Append,
    Arrival,
    Change,
    Conflict,
    Create,
    DeliveryRow,
    DocumentRow,
    EventRow,
    Existing,
    Forget,
    Forgotten,
    InboxRow,
    Ingest,
    LogRow,
    Missing,
    Notify,
    Operation,
    Put,
    Refused,
    Reschedule,
    Result,
    RunOrder,
    RunQuery,
    RunRow,
    Save,
    Together,
    TriggerRow,
    UsageRow,
    WaitRow,
    Written,
)
from durably.store.sqlite import SqliteAdministration, SqliteReader, SqliteStore

__all__ = [
    "SHARED_KINDS",
    "Administration",
    "Append",
    "Arrival",
    "Change",
    "Committer",
    "Conflict",
    "CorruptStore",
    "Create",
    "DeliveryRow",
    "DocumentRow",
    "EventRow",
    "Existing",
    "Fenced",
    "Forget",
    "Forgotten",
    "InboxRow",
    "Ingest",
    "LogRow",
    "MemoryStore",
    "Missing",
    "NewerStore",
    "NotAStore",
    "Notify",
    "OpenRun",
    "Operation",
    "Put",
    "Refused",
    "Reschedule",
    "Result",
    "RunOrder",
    "RunQuery",
    "RunRow",
    "Save",
    "SqliteReader",
    "SqliteStore",
    "Store",
    "StoreFailure",
    "StoreLocked",
    "StoreUnavailable",
    "TakenDocument",
    "Together",
    "TriggerRow",
    "UnknownOutcome",
    "UnreadableStore",
    "UsageRow",
    "WaitRow",
    "Written",
    "administer",
    "open_url",
]

FORMS = "sqlite:///relative.db, sqlite:////absolute/path.db or memory://"


def open_url(url: str) -> Store:
    """The store that a URL names; nothing is opened before `Store.open`.

    Raises `NotAStore` for anything that is not one of `FORMS`. A password in the URL is never repeated.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise NotAStore(f"A store is named by a URL: {FORMS}. A path alone is not enough.")
    match scheme:
        case "sqlite" if rest.startswith("/") and len(rest) > 1:
            return SqliteStore(rest[1:])
        case "sqlite":
            raise NotAStore(f"A SQLite URL has three slashes and a path, or four if it is absolute: {FORMS}.")
        case "memory" if not rest:
            return MemoryStore()
        case "postgresql" | "postgres":
            raise NotAStore(f"PostgreSQL stores ({_without_secrets(url)}) are not built yet. Use {FORMS}.")
        case _:
            raise NotAStore(f"There are no stores of the kind {scheme}://. Use {FORMS}.")


def administer(url: str) -> Administration:
    """A way to write keys and environments to the store that a URL names, also beside an engine that has it open.

    Raises `NotAStore` for anything that another process could not have open.
    """
    store = open_url(url)
    if not isinstance(store, SqliteStore):
        raise NotAStore(f"{url} lives and ends with its process. Name a store like sqlite:///app.db")
    return SqliteAdministration(store.path)


def _without_secrets(url: str) -> str:
    """The URL without user, password and options."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:  # a host that urlsplit cannot read
        return "postgresql://…"
    return f"{parts.scheme}://{host}{parts.path}"
