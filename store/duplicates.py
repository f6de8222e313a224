"""Which events of an ingest are known already: one decision for all stores."""

from collections.abc import Callable

from durably.store.rows import Conflict, EventRow, Ingest

__all__ = ["known_events"]


def known_events(operation: Ingest, earlier: Callable[[EventRow], str | None]) -> list[int] | Conflict:
    """The indexes of events that need not be stored again, or the first one that contradicts an earlier one.

    `earlier` gives the digest of the event that was stored before under the same id within the window, if
    there is one. Two events of the same id in one operation are judged in their order.
    """
    if operation.unique:
        return []
    known: list[int] = []
    digests: dict[str, str] = {}
    for index, (event, *_) in enumerate(operation.events):
        digest = digests.get(event.id) or earlier(event)
        if digest is None:
            digests[event.id] = event.digest
        elif digest == event.digest:
            known.append(index)
        else:
            return Conflict(index)
    return known
