"""The ids of what a run makes: children, and events that it sends (DESIGN rule 9)."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from durably.engine.log.grammar import Entry
from durably.engine.log.records import (
    ChildCanceled,
    ChildFailed,
    ChildStarted,
    ChildSucceeded,
    EventSent,
    Record,
    RunCreated,
)

__all__ = ["derived_id", "event_key", "ids_in"]


def derived_id(run_id: str, key: str) -> str:
    """The id of what a run makes under a key: the same whenever it is made again."""
    return blake2b(f"{run_id}:{key}".encode(), digest_size=16).hexdigest()


def event_key(send: str, index: int) -> str:
    """The key of one of the events that are sent at once."""
    return f"{send}:{index}"


class _Identified(msgspec.Struct):
    id: str


_decode_events = msgspec.json.Decoder(list[_Identified]).decode


def ids_in(kept: Iterable[Record], entries: Sequence[Entry]) -> dict[str, str]:
    """The ids, by key, of the events sent and the children ended in records that a new run keeps of a history.

    They were made by another run, and so do not follow from the new one's id.
    """
    created = entries[0].record
    assert isinstance(created, RunCreated)
    runs = dict(created.ids)
    runs.update((each.record.child, each.record.run) for each in entries if isinstance(each.record, ChildStarted))
    ids: dict[str, str] = {}
    for record in kept:
        match record:
            case EventSent():
                events = enumerate(_decode_events(record.events))
                ids.update((event_key(record.send, index), event.id) for index, event in events)
            case ChildSucceeded() | ChildFailed() | ChildCanceled():
                ids[record.child] = runs[record.child]
            case _:
                pass
    return ids
