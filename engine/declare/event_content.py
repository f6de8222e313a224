"""Events and signals as they are stored and compared: JSON without what the sender left out, within the limits."""

from typing import Any

from durably.engine.declare.events import Event
from durably.engine.errors import InvalidInput
from durably.engine.values.codec import MAX_EVENT, check_depth, encode

__all__ = ["event_content", "signal_content"]


def event_content(event: Event[Any]) -> bytes:
    """The event as JSON. Raises `InvalidInput` when it is too large or nested too deeply."""
    fields = {"name": event.name, "data": event.data, "id": event.id, "ts": event.ts, "user": event.user, "v": event.v}
    content = encode({name: value for name, value in fields.items() if value is not None})
    if len(content) > MAX_EVENT:
        raise InvalidInput(
            f"event {event.name!r} takes {len(content):,} bytes, more than {MAX_EVENT:,}; "
            "store the data elsewhere and send where it is"
        )
    check_depth(content)
    return content


def signal_content(data: Any) -> bytes:
    """A signal's data as JSON. Raises `InvalidInput` when it is too large or nested too deeply."""
    content = encode(data)
    if len(content) > MAX_EVENT:
        raise InvalidInput(
            f"the signal's data takes {len(content):,} bytes, more than {MAX_EVENT:,}; "
            "store it elsewhere and send where it is"
        )
    check_depth(content)
    return content
