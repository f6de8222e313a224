"""Server-sent events, put together from bytes."""

import pytest

from durably.api.client.events import EventReader, ServerSent

STREAM = (
    "retry: 1000\n\n"
    ":\n\n"  # a comment, to keep the connection
    'event: message.published\nid: 7\ndata: {"topic":"ü"}\n\n'
    "data: a\ndata:  b\n\n"
    "event: lost\nid: 8\n\n"  # without data it is none, but its id holds
    "event: end\r\ndata: {}\r\n\r\n"
    "event: never\nid: 9\ndata: {}\n"  # the empty line never comes
).encode()
EVENTS = [
    ServerSent("message.published", "7", '{"topic":"ü"}'),
    ServerSent("message", "7", "a\n b"),
    ServerSent("end", "8", "{}"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_however_they_are_cut(size: int) -> None:
    reader = EventReader()
    chunks = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert [event for chunk in chunks for event in reader.feed(chunk)] == EVENTS
